"""Pictures of one stage."""

from collections.abc import Callable, Sequence

import torch

from imagen.cascade.settings import SamplingSettings, path_of, size_of
from imagen.diffusion.conditioning import Conditioning, resize
from imagen.diffusion.corrections import Correction, correct
from imagen.diffusion.guidance import ConditionalDenoise, GuidanceWithPasses, begun
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
    counted = 0

    def denoise(z: Images, level: NoiseLevel) -> Images:
        nonlocal counted
        counted += rule.passes(level.first())
        return torch.zeros_like(z)

    if path:
        settings.sampler.walk(denoise, path, torch.zeros(1, model.conditioner.channels, 1, 1), [torch.Generator()])
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
            watch(model.name, Estimate(level.first(), x0))
        return x0

    z = randn_per_image(generators, (model.conditioner.channels, *size), device)
    if settings.strength < 1:
        z = level_of(z, path[0]).add_noise(resize(given["start"].images, size), z)
    return settings.sampler.walk(denoise, path, z, generators)


def _estimator(model: StageModel, settings: SamplingSettings) -> ConditionalDenoise:
    if settings.tile_overlap is None:
        return model.denoiser
    return TiledDenoiser(model.denoiser, model.resolution, settings.tile_overlap, model.conditioner.factor)
