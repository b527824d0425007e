"""From batch plans to batches: workers read, crop and resize pictures; the main process embeds the captions."""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from imagen.data.batch import Batch
from imagen.data.pixels import from_uint8
from imagen.data.reading.problems import Fault, Problem, refusal
from imagen.data.sampler import BatchPlan, Draw
from imagen.data.source import BadExampleError, Example, Picture, Source
from imagen.data.transforms import Geometry, TooSmallError, random_windows
from imagen.diffusion.conditioning import resize
from imagen.errors import UserError
from imagen.randomness import derive_seed
from imagen.tensors import Images
from imagen.text.sources import TextSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sizes:
    """Pixels per side: of the squares cut from the source's pictures, of the stage, and of its training windows.

    `source` ≥ `stage`: the base stage's pictures are reduced by the same `resize` that makes the low-resolution inputs
    of the super-resolution stages, so that both are small in the same way. `window` is None for whole pictures.
    """

    source: int
    stage: int
    window: int | None = None

    def __post_init__(self) -> None:
        if self.stage < 1:
            raise UserError(f"the resolution of the stage is {self.stage}: at least 1 pixel per side is needed")
        assert self.source >= self.stage
        if self.window is not None and not 1 <= self.window <= self.stage:
            raise UserError(f"data.crop_size={self.window} must lie between 1 and the stage's resolution, {self.stage}")


@dataclass(frozen=True)
class Assembled:
    """A batch before its captions are embedded. `skipped`: the problem of each skipped row."""

    position: int
    images: Images
    ids: tuple[int, ...]
    captions: tuple[str, ...]
    skipped: dict[int, Problem]
    condition: Images | None = None


@dataclass(frozen=True)
class Refusal:
    """An error found in a worker. Passed as a value, because an exception would arrive wrapped in a traceback."""

    message: str


class Assembler(Dataset):
    """Builds batches from plans. `assembler[plan]` depends on the plan and the source alone, in every process.

    An unusable row is replaced by the next usable one, after at most `max_bad` unusable rows. Of several captions the
    first is used, or with `draw_captions` one drawn with the key of the plan.
    """

    def __init__(
        self, source: Source, geometry: Geometry, sizes: Sizes, max_bad: int, draw_captions: bool = False
    ) -> None:
        self.source, self.geometry, self.sizes, self.max_bad = source, geometry, sizes, max_bad
        self.draw_captions = draw_captions

    def __getitem__(self, plan: BatchPlan) -> Assembled | Refusal:
        skipped: dict[int, Problem] = {}
        try:
            read = [self._read(draw, skipped) for draw in plan.draws]
        except UserError as error:
            return Refusal(str(error))
        images, *conditions = (self._images(squares, plan) for squares in zip(*(cut for _, cut in read), strict=True))
        examples = [example for example, _ in read]
        captions = tuple(self._caption(example, draw) for example, draw in zip(examples, plan.draws, strict=True))
        ids = tuple(example.id for example in examples)
        return Assembled(plan.position, images, ids, captions, skipped, *conditions)

    def _images(self, squares: Sequence[np.ndarray], plan: BatchPlan) -> Images:
        images = resize(from_uint8(np.stack(squares)), self.sizes.stage)
        if self.sizes.window is None:
            return images
        return random_windows(images, self.sizes.window, [draw.key for draw in plan.draws])

    def _caption(self, example: Example, draw: Draw) -> str:
        if not self.draw_captions or len(example.captions) == 1:
            return example.captions[0]
        number = derive_seed(draw.key, "caption")
        if not example.weights:
            return example.captions[number % len(example.captions)]
        share = number / 2**63
        reached = list(accumulate(example.weights))
        # The sum of weights may fall short of 1 by rounding.
        return example.captions[min(bisect_right(reached, share), len(reached) - 1)]

    def _read(self, draw: Draw, skipped: dict[int, Problem]) -> tuple[Example, list[Picture]]:
        """A row with its picture, and the one to condition on if rows have them, both cut with the key of the draw."""
        index = draw.index
        for _ in range(self.max_bad + 1):
            try:
                example = self.source[index]
                pictures = [example.image, *self._condition(example, index)]
                return example, [self.geometry(picture, self.sizes.source, draw.key) for picture in pictures]
            except BadExampleError as error:
                skipped[index] = Problem(self.source.origin_row(index), error.fault, str(error))
            except TooSmallError as error:
                text = f"{self.source.where(index)}: {error}"
                skipped[index] = Problem(self.source.origin_row(index), Fault.SMALL, text)
            index = (index + 1) % len(self.source)
        raise UserError(refusal(self.source.name, list(skipped.values()), len(self.source), self.max_bad))

    def _condition(self, example: Example, index: int) -> list[Picture]:
        if not self.source.has_conditions:
            return []
        condition, where = example.condition, self.source.where(index)
        if condition is None:
            raise BadExampleError(f"{where}: no picture to condition on", Fault.MISSING)
        # Squares and windows are placed by the size: in a picture of another one they would lie elsewhere.
        if condition.shape != example.image.shape:
            (height, width), (rows, columns) = example.image.shape[:2], condition.shape[:2]
            text = f"{where}: {width} × {height} pixels, but {columns} × {rows} in the picture to condition on"
            raise BadExampleError(text, Fault.UNEQUAL)
        return [condition]


class BatchLoader:
    """Iterates over a DataLoader of `Assembled`, embeds the captions and counts bad rows.

    Raises:
        UserError: while iterating, if there are more than `max_bad` different unusable rows. Each one is logged.
    """

    def __init__(self, loader: DataLoader, assembler: Assembler, text: TextSource) -> None:
        self.loader, self.assembler, self.text = loader, assembler, text
        self.skipped: dict[int, Problem] = {}

    def __len__(self) -> int:
        # Raises TypeError for the endless training batches, as Lightning expects.
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for outcome in self.loader:
            if isinstance(outcome, Refusal):
                raise UserError(outcome.message)
            self._note(outcome.skipped)
            yield self._embedded(outcome)

    def _embedded(self, assembled: Assembled) -> Batch:
        # In the main process, because an online encoder may use the accelerator and a cache is opened only once.
        text, mask = self.text.embed(assembled.captions).pad()
        ids = torch.tensor(assembled.ids, dtype=torch.int64)
        return Batch(assembled.images, text, mask, ids, assembled.captions, assembled.position, assembled.condition)

    def _note(self, skipped: dict[int, Problem]) -> None:
        for row in skipped.keys() - self.skipped.keys():
            log.warning("skipped: %s", skipped[row])
        self.skipped |= skipped
        source, allowed = self.assembler.source, self.assembler.max_bad
        if len(self.skipped) > allowed:
            raise UserError(refusal(source.name, list(self.skipped.values()), len(source), allowed))
