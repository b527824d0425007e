"""Where finished pictures are kept: a PNG for each, in a folder for each stage."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from imagen.pictures import save_png, settings_text, settings_text_of
from imagen.sampling.orders.order import Order

Save = Callable[[Sequence[int], Sequence[np.ndarray]], None]
"""Keeps the pictures of these numbers: for each stage (pictures, height, width, 3), uint8."""


class Kept(ABC):
    """The pictures of an order in a folder."""

    def __init__(self, folder: Path, order: Order) -> None:
        self.folder = folder
        self.order = order

    @property
    @abstractmethod
    def identity(self) -> str:
        """Equal for folders of the same files."""

    @property
    @abstractmethod
    def described(self) -> str:
        """What the folder holds, in words."""

    @property
    @abstractmethod
    def files(self) -> list[str]:
        """All files that it writes, relative to the folder."""

    @abstractmethod
    def parts(self, batch_size: int) -> Iterator[list[list[int]]]:
        """The batches of all pictures, in parts: what is written together, and finished together."""

    @abstractmethod
    def finished(self) -> set[int]:
        """The pictures that are there, whole, with exactly the facts of the order. All others are made again."""

    @abstractmethod
    def writing(self, part: Sequence[Sequence[int]]) -> AbstractContextManager[Save]:
        """What saves the pictures of a part, a batch at a time. Nothing half written is ever taken for finished."""

    @abstractmethod
    def last(self, pictures: Sequence[int]) -> Iterator[np.ndarray]:
        """Pictures of the last stage, read when they are asked for: (height, width, 3), uint8."""


class PictureFiles(Kept):
    """`<stage>/00000.png`, … for every stage, each saved as soon as its batch is done."""

    @property
    def identity(self) -> str:
        return self.order.identity

    @property
    def described(self) -> str:
        return f"{len(self.order)} picture{'s' if len(self.order) > 1 else ''}"

    @property
    def files(self) -> list[str]:
        return [f"{role}/{picture:05d}.png" for role in self.order.roles for picture in range(len(self.order))]

    def parts(self, batch_size: int) -> Iterator[list[list[int]]]:
        return ([batch] for batch in self.order.batches(range(len(self.order)), batch_size))

    def finished(self) -> set[int]:
        stages = range(len(self.order.roles))
        pictures = range(len(self.order))
        return {picture for picture in pictures if all(self._is_there(picture, stage) for stage in stages)}

    def _is_there(self, picture: int, stage: int) -> bool:
        path = self._path(picture, stage)
        return path.exists() and settings_text_of(path) == settings_text(self.order.facts_of(picture, stage))

    @contextmanager
    def writing(self, part: Sequence[Sequence[int]]) -> Iterator[Save]:
        def save(pictures: Sequence[int], stages: Sequence[np.ndarray]) -> None:
            for place, picture in enumerate(pictures):
                for stage, made in enumerate(stages):
                    save_png(made[place], self._path(picture, stage), self.order.facts_of(picture, stage))

        yield save

    def last(self, pictures: Sequence[int]) -> Iterator[np.ndarray]:
        for picture in pictures:
            with Image.open(self._path(picture, len(self.order.roles) - 1), formats=["PNG"]) as image:
                yield np.asarray(image)

    def _path(self, picture: int, stage: int) -> Path:
        return self.folder / self.order.roles[stage] / f"{picture:05d}.png"
