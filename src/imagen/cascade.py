"""Sampling from trained stages: text → small image → larger image → …"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from operator import index
from typing import Any, SupportsIndex

import torch

from imagen.diffusion.conditioning import Conditioning, ImageSignal
from imagen.diffusion.corrections import Correction, correct
from imagen.diffusion.guidance import Guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import Sampler
from imagen.diffusion.thresholding import Thresholding
from imagen.errors import UserError
from imagen.instantiation import configuration_of
from imagen.randomness import make_generator, randn_per_image
from imagen.stages.export import TrainedStage
from imagen.stages.model import StageModel
from imagen.tensors import Images
from imagen.text.record import differences

CHANNELS = 3

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

    Raises:
        UserError: unless aug_level is in [0, 1].
    """

    sampler: Sampler
    guidance: Guidance
    thresholding: Thresholding
    aug_level: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.aug_level <= 1:
            raise UserError(f"aug_level={self.aug_level} must be in [0, 1]")

    def describe(self) -> dict[str, Any]:
        """Every setting in plain values; the guidance as `guidance_rule` and `guidance_weight` (None if it has none).

        Raises:
            UserError: for an object that is no dataclass of plain values.
        """
        plain = {field.name: configuration_of(getattr(self, field.name)) for field in fields(self)}
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
    ) -> list[Images]:
        """The pictures of every stage that is run, smallest first, in [-1, 1].

        Picture i depends on (its seed, `picture_ids[i]`), its own row of `given` and its own correction alone, whatever
        else is in the batch, to the rounding of the hardware (docs/reference/reliability.md).

        Args:
            given: what the conditioners of the stages build their signals from, one row for each picture: `text`, and
                `smaller`, the pictures of stage number `first` - 1, to continue from them.
            seed: of the whole run, or one for each picture.
            picture_ids: number of each picture in the run.
            settings: one for each stage; fewer than there are stages stops early.
            first: number of the first stage to run. The pictures are those of a run of all stages.
            corrections: one for each picture, for every stage; None: no picture is corrected.

        Raises:
            UserError: if `given` or `corrections` are not one for each picture, or a stage misses a signal.
        """
        per_picture = given if corrections is None else {**given, "corrections": corrections}
        for name, rows in per_picture.items():
            if len(rows) != len(picture_ids):
                raise UserError(f"{name}: {len(rows)} rows for {len(picture_ids)} pictures; give one for each")
        if "text" in given:
            given = Conditioning(given, text=given["text"].padded(TEXT_MULTIPLE))
        seeds = [seed] * len(picture_ids) if isinstance(seed, int) else seed
        keys = list(zip(seeds, map(index, picture_ids), strict=True))  # a NumPy integer would be another key
        pictures: list[Images] = []
        for stage, one in zip(self.stages[first : len(settings)], settings[first:], strict=True):
            generators = [make_generator(own, "picture", i, stage.model.name) for own, i in keys]
            pictures.append(sample_images(stage.model, given, one, generators, corrections))
            given = Conditioning(given, smaller=ImageSignal(pictures[-1]))
        return pictures


def sample_images(
    model: StageModel,
    given: Conditioning,
    settings: SamplingSettings,
    generators: Sequence[torch.Generator],
    corrections: Sequence[Correction | None] | None = None,
) -> Images:
    """Pictures of one stage, in [-1, 1], on the device of its network.

    Picture i is drawn from `generators[i]` alone. The other arguments are those of `Cascade.sample`.
    """
    device = next(model.denoiser.parameters()).device
    conditioning = model.conditioner.for_sampling(given.to(device), model.resolution, settings.aug_level, generators)

    def denoise(z: Images, level: NoiseLevel) -> Images:
        x0 = settings.thresholding(settings.guidance(model.denoiser, z, level, conditioning))
        return x0 if corrections is None else correct(corrections, x0, z, level)

    noise = randn_per_image(generators, (CHANNELS, model.resolution, model.resolution), device)
    return settings.sampler(denoise, model.schedule, noise, generators)
