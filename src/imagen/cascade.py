"""Sampling from trained stages: text → small image → larger image → …"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from operator import index
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import torch

from imagen.checks.arguments import Count, described, fits
from imagen.diffusion.conditioning import Conditioning, ImageSignal, resize
from imagen.diffusion.corrections import Correction, correct
from imagen.diffusion.guidance import ConditionalDenoise, Guidance, GuidanceWithPasses, begun
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import Estimate, Sampler, level_of
from imagen.diffusion.spacing import beginning_at, resampled
from imagen.diffusion.thresholding import Thresholding
from imagen.diffusion.tiling import TiledDenoiser
from imagen.errors import UserError
from imagen.instantiation import configuration_of, is_unused_addition
from imagen.randomness import make_generator, randn_per_image
from imagen.stages.distillation.record import warn_of_another_sampler
from imagen.stages.export import TrainedStage
from imagen.stages.model import StageModel
from imagen.tensors import Images, Size
from imagen.text.record import differences

CHANNELS = 3

Watch = Callable[[str, Estimate], object]
"""Called after every evaluation of a denoiser: name of the stage, and its estimate of x0, guided, thresholded and
corrected."""


@runtime_checkable
class GuidanceOfAStage(Guidance, Protocol):
    """A rule that serves some stages and not others."""

    def check_stage(self, stage: TrainedStage) -> None:
        """Raises UserError if the rule cannot guide `stage`."""
        ...


TEXT_MULTIPLE = 32
"""Captions are padded to a multiple of this number of tokens. A softmax in bfloat16 on a CPU sums the last keys, which
do not fill a vector, in another order. Without padding a picture would depend on the longest caption of its batch."""


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


@dataclass(frozen=True)
class Cascade:
    """Stages in order, smallest first.

    Raises:
        UserError: if the stages do not fit together: the first needs an input image, sizes do not match, text
            encoders differ, or two stages have the same name.
    """

    stages: Sequence[TrainedStage]

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError("a cascade needs at least one stage; train one with python train.py stage=base")
        size_before = None
        for stage in self.stages:
            this = stage.description
            if this.low_resolution != size_before:
                low = this.low_resolution
                wants = "no input image" if low is None else f"input images of {low} × {low}"
                gets = "no stage" if size_before is None else f"a stage of {size_before} × {size_before}"
                raise UserError(
                    f"stage {this.name!r} expects {wants} but follows {gets}: choose stages that fit together"
                )
            first = self.stages[0].description
            if this.text != first.text:
                raise UserError(
                    f"stages {first.name!r} and {this.name!r} were trained on different text encoders "
                    f"({differences(first.text, this.text, ' and ')}): choose stages of one"
                )
            size_before = this.resolution
        names = [stage.description.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two stages are called {name!r}, which names their pictures: leave one out")

    @torch.inference_mode()
    def sample(
        self,
        given: Conditioning,
        seed: int | Sequence[int],
        picture_ids: Collection[SupportsIndex],
        settings: Sequence[SamplingSettings],
        first: int = 0,
        corrections: Sequence[Correction | None] | None = None,
        watch: Watch | None = None,
    ) -> list[Images]:
        """The pictures of every stage that is run, smallest first, in [-1, 1].

        Picture i depends on (its seed, `picture_ids[i]`), its own row of `given` and its own correction alone, whatever
        else is in the batch, to the rounding of the hardware (docs/reference/reliability.md).

        Args:
            given: what the conditioners of the stages build their signals from, one row for each picture: `text`;
                `smaller`, the pictures of stage number `first` - 1, to continue from them; `start`, the pictures that
                a `strength` below 1 begins with, resized to each stage.
            seed: of the whole run, or one for each picture.
            picture_ids: number of each picture in the run.
            settings: one for each stage; fewer than there are stages stops early.
            first: number of the first stage to run. The pictures are those of a run of all stages.
            corrections: one for each picture, for every stage; None: no picture is corrected.
            watch: called after every evaluation of a denoiser.

        Raises:
            UserError: if `given` or `corrections` are not one for each picture, a stage misses a signal, or the sizes
                of the settings are not those of a cascade.
        """
        per_picture = given if corrections is None else {**given, "corrections": corrections}
        for name, rows in per_picture.items():
            if len(rows) != len(picture_ids):
                raise UserError(f"{name}: {len(rows)} rows for {len(picture_ids)} pictures; give one for each")
        if "text" in given:
            given = Conditioning(given, text=given["text"].padded(TEXT_MULTIPLE))
        self.check(settings, first)
        seeds = [seed] * len(picture_ids) if isinstance(seed, int) else seed
        keys = list(zip(seeds, map(index, picture_ids), strict=True))  # a NumPy integer would be another key
        pictures: list[Images] = []
        for stage, one in zip(self.stages[first : len(settings)], settings[first:], strict=True):
            generators = [make_generator(own, "picture", i, stage.model.name) for own, i in keys]
            pictures.append(sample_images(stage.model, given, one, generators, corrections, watch))
            given = Conditioning(given, smaller=ImageSignal(pictures[-1]))
        return pictures

    def check(self, settings: Sequence[SamplingSettings], first: int = 0) -> None:
        """Look at settings before any picture is made; a student that is sampled otherwise than it was made for gets a
        line in the log.

        Raises:
            UserError: if the sizes are not those of a cascade, or a stage cannot be guided so.
        """
        self._check_sizes(settings)
        for stage, one in list(zip(self.stages, settings, strict=False))[first:]:
            name = stage.description.name
            if isinstance(one.guidance, GuidanceOfAStage):
                one.guidance.check_stage(stage)
            try:
                stage.model.conditioner.rule(one.guidance)
            except UserError as error:
                raise UserError(f"stage {name!r}: {error}") from None
            warn_of_another_sampler(stage.description.made_for, name, one.sampler)

    def _check_sizes(self, settings: Sequence[SamplingSettings]) -> None:
        """Raises UserError unless every stage makes pictures `factor` times as large as the stage before."""
        sizes = [size_of(stage.model, one) for stage, one in zip(self.stages, settings, strict=False)]
        for stage, (height, width), large in zip(self.stages[1:], sizes, sizes[1:], strict=False):
            factor = stage.model.conditioner.factor
            if large != (height * factor, width * factor):
                raise UserError(
                    f"stage {stage.description.name!r} cannot make {large[0]} × {large[1]} from {height} × {width}: it "
                    f"enlarges {factor} times; choose sizes that fit together"
                )


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


def passes(model: StageModel, settings: SamplingSettings) -> int | None:
    """Network passes for one picture: those of the guidance rule at each estimate of x0, for every tile; None if the
    rule does not say (`GuidanceWithPasses`).

    The sampler walks its path with a denoiser that only counts, so no pass is made, and any sampler is counted.
    """
    rule, path = model.conditioner.rule(settings.guidance), path_of(model, settings)
    if not isinstance(rule, GuidanceWithPasses):
        return None
    counted = 0

    def denoise(z: Images, level: NoiseLevel) -> Images:
        nonlocal counted
        counted += rule.passes(float(level.log_snr[0]))
        return torch.zeros_like(z)

    if path:
        settings.sampler.walk(denoise, path, torch.zeros(1, CHANNELS, 1, 1), [torch.Generator()])
    estimator = _estimator(model, settings)
    tiles = estimator.count(*size_of(model, settings)) if isinstance(estimator, TiledDenoiser) else 1
    return counted * tiles


def sample_images(
    model: StageModel,
    given: Conditioning,
    settings: SamplingSettings,
    generators: Sequence[torch.Generator],
    corrections: Sequence[Correction | None] | None = None,
    watch: Watch | None = None,
) -> Images:
    """Pictures of one stage, in [-1, 1], on the device of its network.

    Picture i is drawn from `generators[i]` alone. The other arguments are those of `Cascade.sample`.
    """
    device = next(model.denoiser.parameters()).device
    given, size, path = given.to(device), size_of(model, settings), path_of(model, settings)
    if not path:
        return resize(given["start"].images, size)
    conditioning = model.conditioner.for_sampling(given, size, settings.aug_level, generators)
    estimate, guidance = _estimator(model, settings), begun(model.conditioner.rule(settings.guidance), path)

    def denoise(z: Images, level: NoiseLevel) -> Images:
        nonlocal conditioning
        x0 = settings.thresholding(guidance(estimate, z, level, conditioning))
        if corrections is not None:
            x0 = correct(corrections, x0, z, level)
        conditioning = model.conditioner.with_estimate(conditioning, x0)
        if watch is not None:
            watch(model.name, Estimate(float(level.log_snr[0]), x0))
        return x0

    z = randn_per_image(generators, (CHANNELS, *size), device)
    if settings.strength < 1:
        z = level_of(z, path[0]).add_noise(resize(given["start"].images, size), z)
    return settings.sampler.walk(denoise, path, z, generators)


def _estimator(model: StageModel, settings: SamplingSettings) -> ConditionalDenoise:
    if settings.tile_overlap is None:
        return model.denoiser
    return TiledDenoiser(model.denoiser, model.resolution, settings.tile_overlap, model.conditioner.factor)
