"""Pictures of one stage."""

from collections.abc import Callable, Sequence

import torch

from imagen.cascade.settings import SamplingSettings, path_of, size_of
from imagen.diffusion.conditioning import Conditioning, resize
from imagen.diffusion.corrections import Correction, correct
from imagen.diffusion.denoiser import KeptVariance
from imagen.diffusion.guidance import ConditionalDenoise, Guidance, GuidanceWithPasses, begun
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import Estimate, level_of
from imagen.diffusion.tiling import TiledDenoiser
from imagen.randomness import randn_per_image
from imagen.stages.model import StageModel
from imagen.tensors import Images

Watch = Callable[[str, Estimate], object]
"""Called after every evaluation of a denoiser: name of the stage, and its estimate of x0, guided, thresholded and
corrected."""


def passes(model: StageModel, settings: SamplingSettings) -> int | None:
    """Network passes for one picture: those of the guidance rule at each estimate of x0, for every tile; None if the
    rule does not say (`GuidanceWithPasses`).

    The sampler walks its path with a denoiser that only counts, so no pass is made, and any sampler is counted.
    """
    rule, path = model.conditioner.rule(settings.guidance), path_of(model, settings)
    if not isinstance(rule, GuidanceWithPasses):
        return None
    counting = _Counting(rule)
    if path:
        settings.sampler.walk(counting, path, torch.zeros(1, model.conditioner.channels, 1, 1), [torch.Generator()])
    estimator = _estimator(model, settings)
    tiles = estimator.count(*size_of(model, settings)) if isinstance(estimator, TiledDenoiser) else 1
    return counting.passes * tiles


class _Counting:
    """Counts the network passes that a rule makes for the estimates of one picture, and estimates nothing."""

    def __init__(self, rule: GuidanceWithPasses) -> None:
        self._rule, self.passes = rule, 0

    gamma = torch.zeros(1, 1, 1, 1)
    """See `DenoiseWithVariance`."""

    def __call__(self, z: Images, level: NoiseLevel) -> Images:
        self.passes += self._rule.passes(level.first())
        return torch.zeros_like(z)


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
    guidance = begun(model.conditioner.rule(settings.guidance), path)
    denoise = _Denoise(model, settings, conditioning, guidance, corrections, watch)
    z = randn_per_image(generators, (model.conditioner.channels, *size), device)
    if settings.strength < 1:
        z = level_of(z, path[0]).add_noise(resize(given["start"].images, size), z)
    return settings.sampler.walk(denoise, path, z, generators)


class _Denoise:
    """(z, level) -> x0 of one batch, guided, thresholded and corrected: what a sampler calls."""

    def __init__(
        self,
        model: StageModel,
        settings: SamplingSettings,
        conditioning: Conditioning,
        guidance: Guidance,
        corrections: Sequence[Correction | None] | None,
        watch: Watch | None,
    ) -> None:
        self._model, self._conditioning = model, conditioning
        self._corrections, self._watch = corrections, watch
        self._guidance, self._thresholding = guidance, settings.thresholding
        self._variance = KeptVariance(model.denoiser) if takes_variance(settings) else None
        self._estimator = self._variance or _estimator(model, settings)
        self._images = 0

    @property
    def gamma(self) -> Images:
        """See `DenoiseWithVariance`."""
        assert self._variance is not None
        return self._variance.take(self._images)

    def __call__(self, z: Images, level: NoiseLevel) -> Images:
        self._images = len(z)
        x0 = self._thresholding(self._guidance(self._estimator, z, level, self._conditioning))
        if self._corrections is not None:
            x0 = correct(self._corrections, x0, z, level)
        self._conditioning = self._model.conditioner.with_estimate(self._conditioning, x0)
        if self._watch is not None:
            self._watch(self._model.name, Estimate(level.first(), x0))
        return x0


def takes_variance(settings: SamplingSettings) -> bool:
    """Whether the sampler takes the variance of its steps from the network."""
    return bool(getattr(settings.sampler, "learned_variance", False))


def _estimator(model: StageModel, settings: SamplingSettings) -> ConditionalDenoise:
    if settings.tile_overlap is None:
        return model.denoiser
    return TiledDenoiser(model.denoiser, model.resolution, settings.tile_overlap, model.conditioner.factor)
