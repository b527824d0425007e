"""From batch plans to batches: read, cut, resize in the workers; embed the captions in the main process."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

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
    """Pixels per side: of the squares cut from the source's pictures; of the stage; of the windows it is trained on.

    `source` ≥ `stage`: the base stage's pictures are reduced by the same `resize` that makes the low-resolution inputs
    of the super-resolution stages, so that a cascade sees one kind of small picture. `window` None: the whole picture.
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
    """A batch before its captions are embedded. `skipped` holds, by row, why rows were passed over."""

    position: int
    images: Images
    ids: tuple[int, ...]
    captions: tuple[str, ...]
    skipped: dict[int, Problem]


@dataclass(frozen=True)
class Refusal:
    """A mistake found in a worker: carried as a value, since an exception would arrive there wrapped in a traceback."""

    message: str


class Assembler(Dataset):
    """Batches by plan. `assembler[plan]` depends on the plan and the source alone, whichever process asks.

    A row that cannot be used is replaced by the next one that can, at most `max_bad` in a row. Of several captions the
    first is taken, or, with `draw_captions`, one that is drawn by the key of the plan.
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
        images = resize(from_uint8(np.stack([square for _, square in read])), self.sizes.stage)
        if self.sizes.window is not None:
            images = random_windows(images, self.sizes.window, [draw.key for draw in plan.draws])
        examples = [example for example, _ in read]
        captions = tuple(self._caption(example, draw) for example, draw in zip(examples, plan.draws, strict=True))
        return Assembled(plan.position, images, tuple(example.id for example in examples), captions, skipped)

    def _caption(self, example: Example, draw: Draw) -> str:
        several = self.draw_captions and len(example.captions) > 1
        number = derive_seed(draw.key, "caption") % len(example.captions) if several else 0
        return example.captions[number]

    def _read(self, draw: Draw, skipped: dict[int, Problem]) -> tuple[Example, Picture]:
        index = draw.index
        for _ in range(self.max_bad + 1):
            try:
                example = self.source[index]
                return example, self.geometry(example.image, self.sizes.source, draw.key)
            except BadExampleError as error:
                skipped[index] = Problem(self.source.origin_row(index), error.fault, str(error))
            except TooSmallError as error:
                text = f"{self.source.where(index)}: {error}"
                skipped[index] = Problem(self.source.origin_row(index), Fault.SMALL, text)
            index = (index + 1) % len(self.source)
        raise UserError(refusal(self.source.name, list(skipped.values()), len(self.source), self.max_bad))


class BatchLoader:
    """What the trainer iterates: the batches of a DataLoader of `Assembled`, embedded, bad rows counted.

    Raises:
        UserError: while iterating, for unusable rows beyond `max_bad` different ones, each of which is logged.
    """

    def __init__(self, loader: DataLoader, assembler: Assembler, text: TextSource) -> None:
        self.loader, self.assembler, self.text = loader, assembler, text
        self.skipped: dict[int, Problem] = {}

    def __len__(self) -> int:
        # Raises TypeError for the endless training batches, as Lightning expects of them.
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for outcome in self.loader:
            if isinstance(outcome, Refusal):
                raise UserError(outcome.message)
            self._note(outcome.skipped)
            yield self._embedded(outcome)

    def _embedded(self, assembled: Assembled) -> Batch:
        # In the main process: an online encoder may live on its accelerator, a cache is opened once.
        text, mask = self.text.embed(assembled.captions).pad()
        ids = torch.tensor(assembled.ids, dtype=torch.int64)
        return Batch(assembled.images, text, mask, ids, assembled.captions, assembled.position)

    def _note(self, skipped: dict[int, Problem]) -> None:
        for row in skipped.keys() - self.skipped.keys():
            log.warning("skipped: %s", skipped[row])
        self.skipped |= skipped
        source, allowed = self.assembler.source, self.assembler.max_bad
        if len(self.skipped) > allowed:
            raise UserError(refusal(source.name, list(self.skipped.values()), len(source), allowed))
