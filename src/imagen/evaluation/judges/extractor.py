"""The contracts of judges: what all share, and those that turn pictures and captions into feature vectors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from imagen.checks.worlds import EVERY, World
from imagen.evaluation.judges.metric import (
    ALIGNMENT,
    CMMD,
    DIVERSITY,
    FRECHET,
    FRECHET_INF,
    KID,
    MIND,
    PRECISION,
    RECALL,
    RETRIEVAL,
    Metric,
)
from imagen.tensors import Features, PerImage, Pixels


class Judge(ABC):
    """Measures pictures. `name` labels it in file names and plots. `identity` is everything its numbers depend on:
    hashes of all files loaded, preprocessing, precision. `world` is what it was trained on, None if that is not known.
    `clip_sha256`: of the CLIP that it is, None if it is none.
    """

    name: str
    identity: dict[str, Any]
    world: World | None = EVERY
    clip_sha256: str | None = None

    @property
    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """All metrics that it can measure, by axis."""


class Extractor(Judge):
    """Turns pictures into feature vectors whose Fréchet distance is meaningful.

    `fidelity_key` names its Fréchet distance in the results. `identity` also names the layer. `suffix` ends the keys of
    its other numbers (`kid_clean`); None stands for `[name]`.
    """

    fidelity_key: str
    suffix: str | None = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """All metrics that its features allow, by axis."""
        suffix = f"[{self.name}]" if self.suffix is None else self.suffix
        others = (FRECHET_INF, KID, MIND, PRECISION, RECALL, DIVERSITY)
        keys = {FRECHET: self.fidelity_key} | {axis: axis + suffix for axis in others}
        return {axis: Metric.of_judge(key, self.name, axis) for axis, key in keys.items()}

    @abstractmethod
    def image_features(self, pixels: Pixels) -> Features:
        """One float32 feature vector per picture, on the CPU."""


class AlignmentJudge(Extractor):
    """An extractor that also measures how well a picture fits a caption. `alignment_key` names that number."""

    alignment_key: str
    alignment_scale: float

    @property
    def metrics(self) -> dict[str, Metric]:
        suffix = f"[{self.name}]" if self.suffix is None else self.suffix
        more = {axis: axis + suffix for axis in (CMMD, *RETRIEVAL.values())} | {ALIGNMENT: self.alignment_key}
        return super().metrics | {axis: Metric.of_judge(key, self.name, axis) for axis, key in more.items()}

    @abstractmethod
    def text_features(self, captions: Sequence[str]) -> Features:
        """One float32 feature vector per caption, comparable with `image_features` by cosine."""

    @abstractmethod
    def too_long(self, captions: Sequence[str]) -> list[bool]:
        """For each caption, whether it is longer than the judge reads: its number would be of a part of it."""


def cosines(image_features: Features, text_features: Features) -> PerImage:
    """Cosine of each picture with its own caption, float64 in [-1, 1]: the raw cosine of the Imagen paper's plots."""
    return torch.nn.functional.cosine_similarity(image_features.double(), text_features.double())


def left_out_lines(too_long: Mapping[str, int], total: int) -> list[str]:
    """For each judge that cannot read all captions, a line that says so.

    Args:
        too_long: by judge, how many captions are longer than it reads.
        total: number of captions.
    """
    some = "{} of the {} captions are longer than {} reads: their pictures are left out of its alignment and retrieval"
    none = "all {1} captions are longer than {2} reads: it gives no alignment; use another judge for that"
    return [(none if n == total else some).format(n, total, judge) for judge, n in too_long.items() if n]


def pick_device(device: str) -> str:
    """The device to use; `auto` is the GPU if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
