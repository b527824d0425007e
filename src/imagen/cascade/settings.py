"""How a stage is sampled."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch

from imagen.cascade.embedding_source import EmbeddingSource
from imagen.checks.arguments import Count, described, fits
from imagen.diffusion.guidance import Guidance
from imagen.diffusion.samplers import Sampler
from imagen.diffusion.spacing import beginning_at, resampled
from imagen.diffusion.thresholding import Thresholding
from imagen.errors import UserError
from imagen.instantiation import configuration_of, is_unused_addition
from imagen.stages.model import StageModel
from imagen.tensors import Size


@dataclass(frozen=True)
class SamplingSettings:
    """How one stage is sampled. The one list of such settings: what is added here is part of every fingerprint and of
    the metadata of every picture.

    Args:
        sampler: turns noise into images.
        guidance: with its weight.
        thresholding: of the guided estimate of x0.
        aug_level: how much noise is added to the low-resolution image, in [0, 1]; 0 is none. A base stage has no such
            image, and ignores it.
        size: height and width of the pictures; None: the square that the stage was trained on.
        tile_overlap: share that neighbouring tiles have in common, in (0, 0.5], for pictures that are sampled in tiles
            of the size that the stage was trained on (`TiledDenoiser`); None: as a whole.
        strength: the time on the stage's schedule at which sampling begins, from the picture `start` that is given: 1
            is pure noise, 0 gives the picture back.
        resample: how many times each step is taken (`imagen.diffusion.spacing.resampled`); 1 is once.
        embedding: where the embedding comes from that an unCLIP decoder reads; None for any other stage.

    Raises:
        UserError: for a value out of range.
    """

    sampler: Sampler
    guidance: Guidance
    thresholding: Thresholding
    aug_level: float = 0.0
    size: Size | None = field(default=None, metadata={"added_later": True})
    tile_overlap: float | None = field(default=None, metadata={"added_later": True})
    strength: float = field(default=1.0, metadata={"added_later": True})
    resample: int = field(default=1, metadata={"added_later": True})
    embedding: EmbeddingSource | None = field(default=None, metadata={"added_later": True})

    def __post_init__(self) -> None:
        for name in ("aug_level", "strength"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)} must be in [0, 1]")
        if self.size is not None and not (len(self.size) == 2 and all(fits(side, Count) for side in self.size)):
            raise UserError(f"size={self.size} must be a height and a width in pixels, such as [48,64]")
        if self.tile_overlap is not None and not 0 < self.tile_overlap <= 0.5:
            raise UserError(f"tile_overlap={self.tile_overlap} must be above 0 and at most 0.5")
        if not fits(self.resample, Count):
            raise UserError(f"resample={self.resample} must be {described(Count)}")

    def describe(self) -> dict[str, Any]:
        """Every setting in plain values; the guidance as `guidance_rule` and `guidance_weight` (None if it has none).

        Raises:
            UserError: for an object that is no dataclass of plain values.
        """
        used = [field for field in fields(self) if not is_unused_addition(field, self)]
        plain = {field.name: configuration_of(getattr(self, field.name)) for field in used}
        rule = plain.pop("guidance")
        weight = rule.pop("weight", None)
        return {
            "guidance_weight": None if weight is None else float(weight),
            "sampler": plain.pop("sampler"),
            "thresholding": plain.pop("thresholding"),
            "guidance_rule": rule,
            **plain,
        }


def size_of(model: StageModel, settings: SamplingSettings) -> Size:
    """Height and width of the pictures."""
    return settings.size or (model.resolution, model.resolution)


def path_of(model: StageModel, settings: SamplingSettings) -> list[float]:
    """The log-SNRs that sampling goes through; none at all for a strength of 0."""
    if settings.strength == 0:
        return []
    path = settings.sampler.log_snrs(model.schedule)
    if settings.strength < 1:
        begin = model.schedule(torch.tensor([settings.strength], dtype=torch.float64)).log_snr.item()
        path = beginning_at(path, begin)
    return resampled(path, settings.resample)


def evaluations(model: StageModel, settings: SamplingSettings) -> int:
    """Number of estimates of x0 that sampling takes: calls of `watch`."""
    path = path_of(model, settings)
    return settings.sampler.evaluations(path) if path else 0
