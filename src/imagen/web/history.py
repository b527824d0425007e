"""What was made on the page: a folder for each order, with its pictures, what they were made of, and the command."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from imagen.checks.foreign import checked_record, read_json
from imagen.checks.names import is_name
from imagen.commandline.outputs import fresh_folder
from imagen.errors import UserError
from imagen.files import write_json
from imagen.pictures import save_png
from imagen.sampling.text_to_image import TextToImage
from imagen.web.cascades import Choice
from imagen.web.order import Order

RECORD = "made.json"


@dataclass(frozen=True)
class Made:
    """An order that was carried out.

    Args:
        cascade: name of the cascade.
        order: the fields of the `Order`, as plain values.
        command: what makes the same pictures again.
        files: names of the pictures in the folder, in order.
        folder: where they are; "" in the file itself.
    """

    cascade: str
    order: dict[str, Any]
    command: str
    files: list[str]
    folder: str = ""

    @property
    def paths(self) -> list[Path]:
        return [Path(self.folder) / file for file in self.files]

    def prompt(self, picture: int) -> str:
        """Of picture number `picture`; "" for stages without text."""
        prompts: Sequence[str] = self.order["prompts"]
        return prompts[picture // int(self.order["count"])] if prompts else ""

    @property
    def weight(self) -> float:
        """The guidance weight of the base stage."""
        base: Mapping[str, Any] = self.order["base"]
        return float(base["weight"])


class History:
    """The folders of `Made` below one folder, which also holds the pictures that orders begin with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new_folder(self, suffix: str = "") -> Path:
        """An empty folder, named by the time."""
        return fresh_folder(self.folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}{suffix}")

    def keep(self, choice: Choice, order: Order, pictures: UInt8[np.ndarray, "_ _ _ 3"], model: TextToImage) -> Made:
        """Write the pictures, with what they were made of in their metadata, and the record."""
        folder = self.new_folder()
        command = order.command(choice)
        prompts = list(order.prompts) or [None]
        stages = [{"stage": one.name, "weights_sha256": one.weights_sha256} for one in model.stages]
        files = [f"{i:05d}.png" for i in range(len(pictures))]
        for i, (file, picture) in enumerate(zip(files, pictures, strict=True)):
            facts = {"prompt": prompts[i // order.count], "seed": order.seed, "picture": i}
            save_png(picture, folder / file, {**facts, "stages": stages, "command": command})
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(order).items()}
        made = Made(choice.name, plain, command, files)
        write_json(asdict(made), folder / RECORD)
        return Made(choice.name, plain, command, files, str(folder))

    def newest(self, most: int) -> list[Made]:
        """The last `most` orders, newest first. What is damaged is left out."""
        found = []
        for made in self._made():
            found.append(made)
            if len(found) == most:
                break
        return found

    def _made(self) -> Iterator[Made]:
        folders = self.folder.iterdir() if self.folder.is_dir() else []
        named = [folder for folder in folders if is_name(folder.name) and (folder / RECORD).is_file()]
        for folder in sorted(named, key=lambda it: (it / RECORD).stat().st_mtime_ns, reverse=True):
            with suppress(UserError, OSError):
                made = checked_record(Made, read_json(folder / RECORD, "remove it"), str(folder / RECORD), "remove it")
                if all(is_name(file) and (folder / file).is_file() for file in made.files):
                    yield Made(made.cascade, made.order, made.command, made.files, str(folder))

    def discard(self, folder: Path) -> None:
        """Remove what was put down for an order that was not carried out."""
        if folder.parent == self.folder:
            shutil.rmtree(folder, ignore_errors=True)
