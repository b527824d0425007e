"""The real pictures that generated ones are compared with, and their features, computed once."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from imagen.data.buckets.survey import without
from imagen.data.openmoji.names import all_emoji, openmoji_version
from imagen.data.openmoji.rendering import draw as draw_emoji
from imagen.data.openmoji.splits import as_split, split_of
from imagen.data.pixels import as_pixels
from imagen.data.reading.problems import Fault
from imagen.data.source import Picture, Source
from imagen.data.transforms import Geometry, TooSmallError
from imagen.errors import UserError
from imagen.evaluation.judges.extractor import Extractor
from imagen.evaluation.statistics.nearest import NEIGHBOURS
from imagen.evaluation.sweep.blocks import save_atomically
from imagen.files import fingerprint, read_tensors
from imagen.progress import track
from imagen.shapes import draw, sample_scene
from imagen.tensors import Features, Pixels

BATCH = 64


class Reference(ABC):
    """`count` real pictures. `identity`: their source, for fingerprints. `state`: the state of their files on this
    machine, which a copy elsewhere does not share; features are computed again when it changes."""

    count: int
    identity: Mapping[str, Any]
    state: str = ""

    @abstractmethod
    def picture(self, index: int, resolution: int) -> Picture:
        """Picture `index`, square, at the resolution of the generated pictures."""

    def captions(self) -> Iterable[tuple[str, ...]]:
        """The captions of every picture; none unless a subclass knows them."""
        return repeat((), self.count)

    def batches(self, resolution: int) -> Iterator[Pixels]:
        """All pictures, in order, in batches."""
        for start in range(0, self.count, BATCH):
            rows = range(start, min(start + BATCH, self.count))
            yield as_pixels(np.stack([self.picture(index, resolution) for index in rows]))


class ShapesReference(Reference):
    """Scenes of a split of the shapes world, drawn at the size of the generated pictures.

    `seed` must not be the seed of the prompts: a reference with the same scenes as the prompts would have no floor.
    """

    def __init__(self, count: int, seed: int, split: str = "held_out") -> None:
        self.count = _enough(count)
        self.seed = seed
        self.split = split
        self.identity = {"kind": "shapes", "count": count, "seed": seed, "split": split}

    def picture(self, index: int, resolution: int) -> Picture:
        return draw(sample_scene(self.seed, index, self.split), resolution)

    def captions(self) -> Iterator[tuple[str, ...]]:
        return ((sample_scene(self.seed, index, self.split).caption,) for index in range(self.count))


class OpenMojiReference(Reference):
    """OpenMoji's pictures of a split ("train", "validation" or "held_out"), all of them, drawn at the size of the
    generated pictures.

    Raises UserError if a package of the extra `pictures` is missing, or there is no such split.
    """

    def __init__(self, split: str) -> None:
        emoji = [emoji for emoji in all_emoji() if split_of(emoji) is as_split(split)]
        self.stems, self.names = [one.stem for one in emoji], [one.name for one in emoji]
        self.count = len(self.stems)
        self.identity = {"kind": "openmoji", "version": openmoji_version(), "count": self.count, "split": split}

    def picture(self, index: int, resolution: int) -> Picture:
        return draw_emoji(self.stems[index], resolution)

    def captions(self) -> Iterator[tuple[str, ...]]:
        return ((name,) for name in self.names)


class SourceReference(Reference):
    """The first `count` pictures of a source (all by default): the central square of each, resized as for training to
    the resolution of the generated pictures. `min_side` skips pictures with fewer pixels along a side. Raises UserError
    for a picture that would have to be enlarged.

    The reference affects a Fréchet distance as much as the model does, so the source, the count and the state of its
    files (names, sizes, times of change; no contents) are part of the identity.
    """

    setting: ClassVar[str] = "reference"
    """Its place under `metrics`, for error messages."""

    def __init__(self, source: Source, count: int | None = None, min_side: int | None = None) -> None:
        if min_side is not None:
            source = _large(source, min_side, self.setting)
        if count is not None and count > len(source):
            raise UserError(f"{self.setting}: {count} pictures requested, {source.name} has {len(source)}")
        self.source = source
        self.count = self.enough(len(source) if count is None else count)
        self.identity = {
            "kind": "source",
            "source": source.identity,
            "count": self.count,
            "files_sha256": fingerprint([_known(path) for path in source.files()]),
            "crop": "central square",
        }
        if min_side is not None:
            self.identity["min_side"] = min_side
        self.state = fingerprint([_changed(path) for path in source.files()])

    def picture(self, index: int, resolution: int) -> Picture:
        try:
            return Geometry()(self.source.at(resolution)[index].image, resolution, key=0)
        except TooSmallError as error:
            raise UserError(
                f"{self.setting}: {self.source.where(index)}: {error}; metrics.{self.setting}.min_side={resolution} "
                "skips such pictures"
            ) from error

    def captions(self) -> Iterator[tuple[str, ...]]:
        return islice(self.source.captions_by_row(), self.count)

    @staticmethod
    def enough(count: int) -> int:
        """The count. Raises UserError if it is too small."""
        return _enough(count)


class TrainingPictures(SourceReference):
    """Pictures of the training set, to look for copies of them among the generated ones."""

    setting = "training"

    @staticmethod
    def enough(count: int) -> int:
        if count < NEIGHBOURS:
            raise UserError(
                f"metrics.training has {count} pictures; at least {NEIGHBOURS} are needed to look for copies, and "
                "metrics.training=null looks for none"
            )
        return count


def reference_features(
    reference: Reference, judges: Sequence[Extractor], resolution: int, folder: Path
) -> dict[str, Features]:
    """Features of all pictures of the reference by judge, read from files in `folder` if they were computed before.

    The file name is a hash of everything that the features depend on: the pictures, their size, the judge's weights,
    preprocessing and layer.
    """
    paths = {judge.name: folder / f"{_key(reference, judge, resolution)}.safetensors" for judge in judges}
    stored = {name: features for name, path in paths.items() if (features := _load(path)) is not None}
    missing = [judge for judge in judges if judge.name not in stored]
    if missing:
        made: dict[str, list[Features]] = {judge.name: [] for judge in missing}
        total = -(-reference.count // BATCH)
        for pixels in track(reference.batches(resolution), "features of the reference", total):
            for judge in missing:
                made[judge.name].append(judge.image_features(pixels))
        for name, parts in made.items():
            stored[name] = torch.cat(parts)
            save_atomically({"features": stored[name]}, {}, paths[name])
    return stored


def _large(source: Source, min_side: int, setting: str) -> Source:
    small = {problem.row for problem in source.problems(min_side) if problem.fault is Fault.SMALL}
    large = without(source, small)
    if len(large) == 0:
        raise UserError(
            f"{setting}: no picture of {source.name} has metrics.{setting}.min_side={min_side} pixels a side"
        )
    return large


def _known(path: Path) -> list[str | int]:
    """The name, size and times of a file, without reading it. A missing file is reported later, when it is read."""
    try:
        stat = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _changed(path: Path) -> int:
    """The system's time of the last change. It changes even if a file is replaced by one of equal size and time."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _load(path: Path) -> Features | None:
    from safetensors import SafetensorError

    try:
        return read_tensors(path)[1]["features"]
    except (OSError, SafetensorError, KeyError):
        return None


def _key(reference: Reference, judge: Extractor, resolution: int) -> str:
    content = {"reference": dict(reference.identity), "state": reference.state}
    identity = content | {"judge": judge.identity, "resolution": resolution}
    return f"{judge.name.replace(':', '-')}-{fingerprint(identity)[:16]}"


def _enough(count: int) -> int:
    if count < 2:
        raise UserError(f"reference.count is {count}; a Fréchet distance needs at least 2 pictures")
    return count
