"""One DataModule for all stages."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from omegaconf import DictConfig, open_dict
from torch.utils.data import Sampler

from imagen.data.batch import Batch
from imagen.data.buckets.sampler import training_batches, validation_batches
from imagen.data.buckets.survey import Survey, refuse_small_buckets, without
from imagen.data.loading import Assembler, BatchLoader, Bucket, Readers, Sizes, row_reader
from imagen.data.reading.problems import MAX_SHARE, Fault, refusal, summary, write_list
from imagen.data.sampler import BatchPlan, Share, check_batch_size
from imagen.data.source import EveryCaption, Rows, Source
from imagen.data.transforms import Geometry
from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import instantiate
from imagen.randomness import make_generator
from imagen.text.sources import TextSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadPictures:
    """What to do about unusable rows: missing, unreadable or too small pictures.

    Up to `max_share` (at most 0.001) of the training rows may be bad, and the same number in validation: each is logged
    and replaced by the next row. `check_first` reads every header before training, so that most bad rows are found at
    once. `skip_small` leaves out pictures with too few pixels along a side; they are found before training and do not
    count as bad. With `lists`, all problems are listed in a file in that folder.
    """

    max_share: float = 0.0
    check_first: bool = True
    skip_small: bool = False
    lists: str | Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_share <= MAX_SHARE:
            raise UserError(
                f"data.bad_pictures.max_share={self.max_share} must lie between 0 and {MAX_SHARE}: repair the "
                "data instead"
            )

    def allowed(self, train: Source) -> int:
        """Number of bad rows allowed in training, and also in validation, whose own share would round to 0."""
        return int(self.max_share * len(train))


def make_data(config: DictConfig) -> "ImagenDataModule":
    """The DataModule that the node `data` of a configuration describes.

    Its `path` is there for the command line; the sources below it refer to it.

    Raises:
        UserError: for what cannot be built.
    """
    described = config.copy()  # still in its place, so that what refers to `data.path` finds it
    with open_dict(described):
        described.pop("path", None)
    return instantiate(described)


class ImagenDataModule(LightningDataModule):
    """Embedded, captioned pictures for training and validation, as `Batch`.

    Training batch k is a function of (seed, k, rank, world size) alone. The only state is `next_position`, the position
    of the batch after the current one, so batches prefetched by workers do not count. It is saved with every
    checkpoint, and a resumed run continues with that batch. With `keep_large` set, batches also hold `Batch.large`.

    Args:
        train: source of the training pictures.
        validation: source of the validation pictures.
        text: embeds the captions.
        resolution: of the stage, pixels per side.
        source_resolution: pictures are drawn, or cropped and resized, at this many pixels per side (or at `resolution`
            if that is larger) and then reduced to `resolution` (see `Sizes`). In a bucket of another shape than the
            square it is the square root of the area.
        crop_size: side of the training windows in pixels; None: train on whole pictures.
        batch_size: pictures per batch and process.
        num_workers: number of worker processes, as in `Readers`.
        seed: of the order and of augmentation.
        geometry: how squares, or the shapes of buckets, are cropped; validation uses its fixed form.
        bad_pictures: what to do about unusable rows.
        prefetch_factor: batches that each worker reads ahead, as in `Readers`.
        ahead: batches that are embedded ahead, as in `Readers`.

    Raises:
        UserError: if a number is out of range.
    """

    def __init__(
        self,
        train: Source,
        validation: Source,
        text: TextSource,
        resolution: int,
        source_resolution: int,
        crop_size: int | None,
        batch_size: int,
        num_workers: int | None,
        seed: int,
        geometry: Geometry | None = None,
        bad_pictures: BadPictures | None = None,
        prefetch_factor: int = 2,
        ahead: int | None = None,
    ) -> None:
        super().__init__()
        self.readers = Readers(num_workers, prefetch_factor, ahead)
        if resolution < 1:
            raise UserError(f"the resolution of the stage is {resolution}: at least 1 pixel per side is needed")
        self.geometry, self.bad_pictures = geometry or Geometry(), bad_pictures or BadPictures()
        cut_at = max(source_resolution, resolution)
        shapes = self.geometry.shapes
        cut, made = shapes.at(cut_at), shapes.at(resolution)
        self.sizes = [Sizes(source, stage, crop_size) for source, stage in zip(cut, made, strict=True)]
        self.train, self.validation = train.at(cut_at), validation.at(cut_at)
        self.text, self.batch_size, self.seed = text, batch_size, seed
        check_batch_size(batch_size)
        for source, use in ((self.train, "training"), (self.validation, "validation")):
            if not len(source):
                raise UserError(f"{source.name}: no picture for {use}")
        self._rows = row_reader(text, train, validation)
        self.next_position, self.keep_large = 0, False
        self.world = train.world
        self._all_rows = {"training": self.train, "validation": self.validation}
        self._survey = Survey(self.geometry, cut_at)
        self._buckets: dict[str, list[Bucket]] = {}

    def prepare_data(self) -> None:
        """Check the pictures, say what is in each bucket, and fill the embedding cache. Lightning calls this in one
        process of each machine."""
        if self.bad_pictures.check_first or len(self.sizes) > 1:
            self._check_pictures()
        self.setup()
        if len(self.sizes) > 1:
            print(self._survey.report(self.train), flush=True)
        self.text.prepare(EveryCaption(self.train, self.validation))

    def setup(self, stage: str = "fit") -> None:
        """With `skip_small`, leave out the small pictures. With buckets, sort the pictures by their headers, and leave
        out those that have none. Lightning calls this in every process."""
        small = self.bad_pictures.skip_small and not self.geometry.upscale
        self._buckets = {}
        if small or len(self.sizes) > 1:
            self.train, self.validation = (self._usable(part, rows) for part, rows in self._all_rows.items())
        self._sorted("training")

    def train_dataloader(self) -> BatchLoader:
        """Endless batches, from `next_position` on."""
        buckets = self._sorted("training")
        counts = [len(bucket.source) for bucket in buckets]
        sampler = training_batches(counts, self.batch_size, self.seed, self._share(), self.next_position)
        return self._loader(buckets, self.geometry, sampler, draw_captions=True)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Lightning calls this before the stage gets the batch, so before any checkpoint that includes the batch."""
        if self.trainer is not None and self.trainer.training:
            self.next_position = batch.position + 1
        return batch

    def val_dataloader(self) -> BatchLoader:
        """Every picture of this rank's share once, always in the same order and with the same crop."""
        buckets = self._sorted("validation")
        sampler = validation_batches([len(one.source) for one in buckets], self.batch_size, self.seed, self._share())
        return self._loader(buckets, self.geometry.fixed(), sampler)

    def examples(self) -> Iterator[Batch]:
        """The first validation batch of each bucket, the largest bucket first; without buckets the first one."""
        return islice(self.val_dataloader(), sum(len(one.source) > 0 for one in self._sorted("validation")))

    @property
    def pictures_seen(self) -> int:
        """Number of pictures that all processes have trained on since the run began, repeats included."""
        return self.next_position * self._global_batch_size()

    def state_dict(self) -> dict[str, Any]:
        """The position of the next training batch, the global batch size, the number of training rows, the fingerprint
        of the text source, and the record of the training pictures."""
        return {
            "next_position": self.next_position,
            "global_batch_size": self._global_batch_size(),
            "train_size": len(self.train),
            "text": dict(self.text.fingerprint),
            "trained_on": self.world.as_record(),
        }

    def load_state_dict(self, state_dict: Any) -> None:
        """Continue after the last batch trained on.

        Raises:
            UserError: if the batch size has changed and that place falls inside a batch.
        """
        seen = pictures_seen_at(state_dict)
        position, rest = divmod(seen, self._global_batch_size())
        if rest:
            raise UserError(
                f"the run to resume has seen {seen} pictures, which is not a multiple of the global batch size, "
                f"now {self._global_batch_size()}; keep it at {state_dict['global_batch_size']}"
            )
        if state_dict["train_size"] != len(self.train):
            log.warning(
                "%s has %d rows now and had %d when the run began: the order of the pictures changes",
                self.train.name, len(self.train), state_dict["train_size"],
            )  # fmt: skip
        if len(self.sizes) > 1 and state_dict["global_batch_size"] != self._global_batch_size():
            log.warning(
                "%s: with buckets, another batch size changes the order of the pictures: this epoch leaves out some "
                "and repeats others", self.train.name,
            )  # fmt: skip
        self.next_position = position

    def _share(self) -> Share:
        return Share() if self.trainer is None else Share(self.trainer.global_rank, self.trainer.world_size)

    def _global_batch_size(self) -> int:
        return self.batch_size * self._share().world_size

    def _sorted(self, part: str) -> list[Bucket]:
        """The buckets of a part, one for each of `sizes`; without `buckets` it is one.

        Raises:
            UserError: if a bucket has too few pictures for training.
        """
        if part not in self._buckets:
            source = self.train if part == "training" else self.validation
            rows = self._survey.sorted(source)
            sources = [source] if len(rows) == 1 else [Rows(source, some) for some in rows]
            if part == "training" and len(rows) > 1:
                refuse_small_buckets(self._survey, source, [len(some) for some in rows], self._global_batch_size())
            self._buckets[part] = [Bucket(*both) for both in zip(sources, self.sizes, strict=True)]
        return self._buckets[part]

    def _loader(
        self, buckets: list[Bucket], geometry: Geometry, sampler: Sampler[BatchPlan], draw_captions: bool = False
    ) -> BatchLoader:
        allowed = self.bad_pictures.allowed(self.train)
        assembler = Assembler(buckets, geometry, allowed, draw_captions, self.keep_large, self._rows)
        trainers, pin = 1, False
        if self.trainer is not None:
            trainers, pin = self.trainer.num_devices, self.trainer.strategy.root_device.type == "cuda"
        # Its own generator: otherwise every new loader would advance the global one.
        generator = make_generator(self.seed, "loader")
        return self.readers.loader(assembler, sampler, self.text, generator, trainers, pin)

    def _check_pictures(self) -> None:
        """Check each origin once: training and validation usually share one."""
        allowed = self.bad_pictures.allowed(self.train)
        for origin in {source.origin.name: source.origin for source in self._all_rows.values()}.values():
            problems = self._survey.problems(origin)
            bad = [
                problem for problem in problems if not (self.bad_pictures.skip_small and problem.fault is Fault.SMALL)
            ]
            lists = self.bad_pictures.lists
            listed = write_list(problems, origin.name, user_path(lists)) if problems and lists is not None else None
            if len(bad) > allowed:
                raise UserError(refusal(origin.name, bad, len(origin), allowed, listed))
            if problems:
                where = "" if listed is None else f"; all are listed in {listed}"
                log.warning("%s: %s are not used%s", origin.name, summary(problems, len(origin)), where)

    def _usable(self, part: str, source: Source) -> Source:
        """Without the small pictures; with buckets, also without those that cannot be read (`_check_pictures` has
        allowed them), which belong to no bucket."""
        problems, several = self._survey.problems(source.origin), len(self.sizes) > 1
        usable = without(source, {problem.row for problem in problems if several or problem.fault is Fault.SMALL})
        if len(usable) == 0:
            height, width = self.sizes[0].source
            needed = "as many pixels as its bucket" if several else f"{width} × {height} pixels"
            raise UserError(
                f"{source.name}: no picture for {part} has {needed}; choose smaller resolutions, or "
                "data.geometry.upscale=true"
            )
        return usable


def pictures_seen_at(state: Any) -> int:
    """`ImagenDataModule.pictures_seen` of a `state_dict` from a checkpoint.

    Raises:
        UserError: if `state` is not such a `state_dict`; it may come from somebody else.
    """
    given = state if isinstance(state, Mapping) else {}
    position, size = given.get("next_position"), given.get("global_batch_size")
    if not (isinstance(position, int) and isinstance(size, int) and position >= 0 and size >= 0):
        raise UserError("not a checkpoint of a training run: its place in the data is missing or damaged")
    return position * size
