"""From batch plans to batches: workers read, crop and resize pictures; the main process embeds the captions, unless
embeddings lie beside the pictures."""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from imagen.concurrency.ahead import Waiting, made_ahead
from imagen.concurrency.processes import cores_each
from imagen.data.batch import Batch
from imagen.data.pixels import from_uint8
from imagen.data.reading.problems import BadExampleError, Fault, Problem, refusal
from imagen.data.sampler import BatchPlan, Draw
from imagen.data.source import Example, Picture, Source
from imagen.data.transforms import Geometry, TooSmallError, covers, random_windows
from imagen.diffusion.conditioning import OtherSizeImages, resize
from imagen.errors import UserError
from imagen.randomness import derive_seed
from imagen.tensors import Images, Size
from imagen.text.embeddings import TextEmbeddings
from imagen.text.rows.row_file import RowReader
from imagen.text.rows.row_text import RowsText
from imagen.text.sources import TextSource

log = logging.getLogger(__name__)

MOST_WORKERS = 8
"""More are for what reads more slowly than one GPU trains: they must be asked for."""


@dataclass(frozen=True)
class Sizes:
    """Height and width of what is cut from the source's pictures and of the stage's; the side of training windows.

    `source` ≥ `stage`: the base stage's pictures are reduced by the same `resize` that makes the low-resolution inputs
    of the super-resolution stages, so that both are small in the same way. `window` is None for whole pictures.
    """

    source: Size
    stage: Size
    window: int | None = None

    def __post_init__(self) -> None:
        assert covers(self.source, self.stage)
        if self.window is not None and not 1 <= self.window <= min(self.stage):
            of_what = "stage's resolution" if len(set(self.stage)) == 1 else f"shorter side of {self.stage}"
            raise UserError(f"data.crop_size={self.window} must lie between 1 and the {of_what}, {min(self.stage)}")


@dataclass(frozen=True)
class Bucket:
    """Pictures that get the same size."""

    source: Source
    sizes: Sizes


@dataclass(frozen=True)
class Assembled:
    """A batch before its captions are embedded. `skipped`: the problem of each skipped row. `text`: the embeddings of
    the captions, if they came with the rows."""

    position: int
    images: Images
    ids: tuple[int, ...]
    captions: tuple[str, ...]
    skipped: dict[int, Problem]
    condition: Images | None = None
    large: OtherSizeImages | None = None
    text: TextEmbeddings | None = None


@dataclass(frozen=True)
class Refusal:
    """An error found in a worker. Passed as a value, because an exception would arrive wrapped in a traceback."""

    message: str
    environment: bool


class Assembler(Dataset):
    """Builds batches from plans. `assembler[plan]` depends on the plan and the source alone, in every process.

    An unusable row is replaced by the next usable one of its bucket, after at most `max_bad` unusable rows. Of several
    captions the first is used, or with `draw_captions` one drawn with the key of the plan. With `keep_large` a batch
    also holds the pictures before they are reduced to the stage. `rows` reads the embeddings of the captions from the
    files that come with the rows.
    """

    def __init__(
        self,
        buckets: Sequence[Bucket],
        geometry: Geometry,
        max_bad: int,
        draw_captions: bool = False,
        keep_large: bool = False,
        rows: RowReader | None = None,
    ) -> None:
        self.buckets, self.geometry, self.max_bad = buckets, geometry, max_bad
        self.draw_captions, self.keep_large, self.rows = draw_captions, keep_large, rows

    def __getitem__(self, plan: BatchPlan) -> Assembled | Refusal:
        bucket = self.buckets[plan.bucket]
        skipped: dict[int, Problem] = {}
        try:
            read = [self._read(bucket, draw, skipped) for draw in plan.draws]
            examples = [example for example, _ in read]
            captions = tuple(self._caption(example, draw) for example, draw in zip(examples, plan.draws, strict=True))
            text = self._text(bucket.source.origin, examples, captions)
        except UserError as error:
            return Refusal(str(error), error.environment)
        pictures = list(zip(*(cuts for _, cuts in read), strict=True))
        images, *conditions = (self._images(cuts, bucket.sizes, plan) for cuts in pictures)
        condition = conditions[0] if conditions else None
        large = from_uint8(np.stack(pictures[0])) if self.keep_large else None
        ids = tuple(example.id for example in examples)
        return Assembled(plan.position, images, ids, captions, skipped, condition, large, text)

    def _text(self, origin: Source, examples: Sequence[Example], captions: Sequence[str]) -> TextEmbeddings | None:
        if self.rows is None:
            return None
        each = zip(examples, captions, strict=True)
        found = [self.rows.read(example.embeddings, caption, origin.where(example.id)) for example, caption in each]
        return TextEmbeddings(torch.cat(found), tuple(map(len, found)))

    def _images(self, cuts: Sequence[np.ndarray], sizes: Sizes, plan: BatchPlan) -> Images:
        images = resize(from_uint8(np.stack(cuts)), sizes.stage)
        if sizes.window is None:
            return images
        return random_windows(images, sizes.window, [draw.key for draw in plan.draws])

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

    def _read(self, bucket: Bucket, draw: Draw, skipped: dict[int, Problem]) -> tuple[Example, list[Picture]]:
        """A row with its picture, and the one to condition on if rows have them, both cut with the key of the draw."""
        source, index = bucket.source, draw.index
        for _ in range(self.max_bad + 1):
            row = source.origin_row(index)
            try:
                example = source[index]
                pictures = [example.image, *_condition(source, example, index)]
                return example, [self.geometry(picture, bucket.sizes.source, draw.key) for picture in pictures]
            except BadExampleError as error:
                skipped[row] = Problem(row, error.fault, str(error))
            except TooSmallError as error:
                skipped[row] = Problem(row, Fault.SMALL, f"{source.where(index)}: {error}")
            index = (index + 1) % len(source)
        raise UserError(self.refusal(list(skipped.values())))

    def refusal(self, problems: Sequence[Problem]) -> str:
        """The error message if there are too many `problems`."""
        total = sum(len(bucket.source) for bucket in self.buckets)
        return refusal(self.buckets[0].source.name, problems, total, self.max_bad)


def _condition(source: Source, example: Example, index: int) -> list[Picture]:
    """The picture to condition on, if the rows of the source have one."""
    if not source.has_conditions:
        return []
    condition, where = example.condition, source.where(index)
    if condition is None:
        raise BadExampleError(f"{where}: no picture to condition on", Fault.MISSING)
    # What is cut is placed by the size: in a picture of another one it would lie elsewhere.
    if condition.shape != example.image.shape:
        (height, width), (rows, columns) = example.image.shape[:2], condition.shape[:2]
        text = f"{where}: {width} × {height} pixels, but {columns} × {rows} in the picture to condition on"
        raise BadExampleError(text, Fault.UNEQUAL)
    return [condition]


def row_reader(text: TextSource, *sources: Source) -> RowReader | None:
    """What reads the embeddings that come with the rows of `sources`; None if they come from elsewhere.

    Raises:
        UserError: if `text` takes them from the rows, and the first row of a source has none, or another encoder's.
    """
    if not isinstance(text, RowsText):
        return None
    origins = [source.origin for source in sources]
    readers = [text.reader(origin.embeddings(0), origin.where(0), origin.name) for origin in origins]
    return readers[0]


class BatchLoader:
    """Iterates over a DataLoader of `Assembled`, embeds the captions and counts bad rows.

    A thread does that for up to `ahead` batches while the caller works on the last one. With `pin`, it leaves them in
    pinned memory, from which a GPU fetches them without making the host wait. `waiting` has the seconds that the caller
    waited for batches.

    Raises:
        UserError: while iterating, if there are more than `max_bad` different unusable rows. Each one is logged.
    """

    def __init__(
        self, loader: DataLoader, assembler: Assembler, text: TextSource, ahead: int = 0, pin: bool = False
    ) -> None:
        self.loader, self.assembler, self.text = loader, assembler, text
        self.ahead, self.pin = ahead, pin
        self.waiting = Waiting()
        self.skipped: dict[int, Problem] = {}

    def __len__(self) -> int:
        # Raises TypeError for the endless training batches, as Lightning expects.
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        # Worker processes are started here, not in the thread: torch watches only those of the main thread.
        outcomes = iter(self.loader)
        return made_ahead(map(self._batch, outcomes), self.ahead, self.waiting)

    def _batch(self, outcome: Assembled | Refusal) -> Batch:
        if isinstance(outcome, Refusal):
            raise UserError(outcome.message, environment=outcome.environment)
        self._note(outcome.skipped)
        batch = self._embedded(outcome)
        return batch.pinned() if self.pin else batch

    def _embedded(self, assembled: Assembled) -> Batch:
        # In the main process, because an online encoder may use the accelerator and a cache is opened only once.
        embeddings = self.text.embed(assembled.captions) if assembled.text is None else assembled.text
        text, mask = embeddings.pad()
        ids = torch.tensor(assembled.ids, dtype=torch.int64)
        condition, large = assembled.condition, assembled.large
        return Batch(assembled.images, text, mask, ids, assembled.captions, assembled.position, condition, large)

    def _note(self, skipped: dict[int, Problem]) -> None:
        for row in skipped.keys() - self.skipped.keys():
            log.warning("skipped: %s", skipped[row])
        self.skipped |= skipped
        if len(self.skipped) > self.assembler.max_bad:
            raise UserError(self.assembler.refusal(list(self.skipped.values())))


@dataclass(frozen=True)
class Readers:
    """The processes and the thread that make batches while the last one is trained on.

    Args:
        num_workers: number of processes that read and decode; 0: the one that trains; None: as many as there are cores
            for each process that trains on this machine, at most `MOST_WORKERS`.
        prefetch_factor: batches that each of them reads ahead.
        ahead: batches that a thread embeds ahead; 0: each is embedded when it is asked for; None: 2 where a GPU trains,
            else 0, because the thread would take the cores that train.

    Raises:
        UserError: if a number is out of range.
    """

    num_workers: int | None
    prefetch_factor: int
    ahead: int | None

    def __post_init__(self) -> None:
        for name, least in (("num_workers", 0), ("prefetch_factor", 1), ("ahead", 0)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise UserError(f"data.{name}={number}: {least} or more are needed")

    def loader(
        self,
        assembler: Assembler,
        sampler: Sampler[BatchPlan],
        text: TextSource,
        generator: torch.Generator,
        trainers: int,
        pin: bool,
    ) -> BatchLoader:
        """The batches of a sampler for one of so many `trainers` on this machine; with `pin`, for its GPU."""
        workers = min(cores_each(trainers), MOST_WORKERS) if self.num_workers is None else self.num_workers
        loader = DataLoader(
            assembler,
            batch_size=None,  # the sampler yields plans of whole batches
            sampler=sampler,
            num_workers=workers,
            prefetch_factor=self.prefetch_factor if workers else None,
            collate_fn=_unchanged,
            generator=generator,
        )
        return BatchLoader(loader, assembler, text, 2 * pin if self.ahead is None else self.ahead, pin)


def _unchanged(assembled: Any) -> Any:
    return assembled
