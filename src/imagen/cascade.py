"""Sampling from trained stages: text → small image → larger image → …"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from imagen.diffusion.conditioning import Conditioning, LowResImage, OtherSizeImages
from imagen.diffusion.guidance import Guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import Sampler
from imagen.diffusion.thresholding import Thresholding
from imagen.errors import UserError
from imagen.randomness import make_generator, randn_per_image
from imagen.stages.export import TrainedStage
from imagen.stages.model import StageModel
from imagen.tensors import Images, Text, TextMask

CHANNELS = 3

TEXT_MULTIPLE = 32
"""Captions are padded to a multiple of so many tokens. A softmax in bfloat16 on a CPU sums the last keys that do not
fill a vector in another order: with the longest caption of the batch, a picture would depend on its neighbours."""


@dataclass(frozen=True)
class SamplingSettings:
    """How one stage is sampled.

    `aug_level` in [0, 1] is how much noise is added to the low-resolution image (0: none; ignored by a base stage).
    """

    sampler: Sampler
    guidance: Guidance
    thresholding: Thresholding
    aug_level: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.aug_level <= 1:
            raise UserError(f"aug_level={self.aug_level} must be in [0, 1]")


@dataclass(frozen=True)
class Cascade:
    """Stages in order, smallest first.

    Raises:
        UserError: if the stages do not fit together: a first one that needs a smaller image, sizes that do not follow
            each other, different text encoders.
    """

    stages: Sequence[TrainedStage]

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError("a cascade needs at least one stage; train one with python train.py stage=base")
        size_before = None
        for stage in self.stages:
            this = stage.description
            if this.low_resolution != size_before:
                wants = "no image" if this.low_resolution is None else f"{this.low_resolution} × {this.low_resolution}"
                gets = "no image" if size_before is None else f"{size_before} × {size_before}"
                raise UserError(
                    f"stage {this.name!r} enlarges {wants} but gets {gets}: choose stages that fit together"
                )
            first = self.stages[0].description
            if this.text != first.text:
                raise UserError(
                    f"stages {first.name!r} and {this.name!r} were trained with other text encoders: "
                    f"{first.text} and {this.text}"
                )
            size_before = this.resolution

    @torch.inference_mode()
    def sample(
        self,
        text: Text,
        text_mask: TextMask,
        seed: int,
        picture_ids: Sequence[int],
        settings: Sequence[SamplingSettings],
        smaller: OtherSizeImages | None = None,
        first: int = 0,
    ) -> list[Images]:
        """The pictures of every stage that is run, smallest first, in [-1, 1].

        Picture i depends on (`seed`, `picture_ids[i]`) and its own caption alone, whatever else is in the batch, to
        the rounding of the hardware (docs/reference/reliability.md).

        Args:
            text: embedded captions, one for each picture.
            text_mask: which of their tokens are real.
            seed: of the whole run.
            picture_ids: number of each picture in the run.
            settings: one for each stage; fewer than there are stages stops early.
            smaller: pictures of the stage before `first`, to continue from; the result is the same as that of a run
                through all stages.
            first: number of the first stage to run.
        """
        if len(text) != len(picture_ids):
            raise UserError(f"{len(text)} captions for {len(picture_ids)} pictures")
        missing = -text.shape[1] % TEXT_MULTIPLE
        text, text_mask = F.pad(text, (0, 0, 0, missing)), F.pad(text_mask, (0, missing))
        pictures: list[Images] = []
        for stage, how in zip(self.stages[first : len(settings)], settings[first:], strict=True):
            generators = [make_generator(seed, "picture", i, stage.model.name) for i in picture_ids]
            smaller = sample_images(stage.model, text, text_mask, smaller, how, generators)
            pictures.append(smaller)
        return pictures


def sample_images(
    model: StageModel,
    text: Text,
    text_mask: TextMask,
    smaller: OtherSizeImages | None,
    settings: SamplingSettings,
    generators: Sequence[torch.Generator],
) -> Images:
    """Pictures of one stage, in [-1, 1]; picture i is drawn from `generators[i]` alone.

    `smaller` are the pictures of the stage before, for a super-resolution stage.
    """
    side = model.resolution
    shape = (CHANNELS, side, side)
    low_res = None
    if smaller is not None:
        assert model.augmentation is not None, "a super-resolution stage has an augmentation schedule"
        level = model.augmentation(torch.full((len(text),), settings.aug_level, device=text.device))
        eps = randn_per_image(generators, shape, text.device)
        # Clamped, as the images were that the stage was trained on.
        low_res = LowResImage.augment(smaller.clamp(-1, 1), side, level, eps)
    conditioning = Conditioning(text, text_mask, low_res)

    def denoise(z: Images, level: NoiseLevel) -> Images:
        return settings.thresholding(settings.guidance(model.denoiser, z, level, conditioning))

    noise = randn_per_image(generators, shape, text.device)
    return settings.sampler(denoise, model.schedule, noise, generators)
