"""Conditioners build the signals of a stage: the one thing in which base and super-resolution stages differ."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from imagen.data.batch import Batch
from imagen.devices import moved
from imagen.diffusion.conditioning import (
    Conditioning,
    ImageSignal,
    LowResImage,
    OtherSizeImages,
    TextSignal,
    resize,
)
from imagen.diffusion.guidance import Guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError
from imagen.randomness import randn_per_image
from imagen.tensors import Images, Size

CHANNELS = 3
"""Of pictures."""


class Conditioner(ABC):
    """What a stage's network is told, in training and in sampling.

    `factor` is how many times larger the stage makes the images it is given; 1 for a stage that is given none.
    `channels` are those of what the stage makes: 3 of pictures. `caption_signals` tell the caption, and are dropped
    together. `looks_at` says whether batches must hold the pictures as they were before they were reduced to the stage.
    """

    factor: int = 1
    channels: int = CHANNELS
    caption_signals: Sequence[str] = ("text",)
    looks_at: bool = False

    @abstractmethod
    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        """The signals of a training batch. `generator` is on the CPU."""

    def for_validation(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        """The same for a validation batch, of which nothing is dropped."""
        return self.for_training(batch, generator)

    def target(self, batch: Batch) -> Images:
        """What the stage learns to make of a batch: its pictures."""
        return batch.images

    def told_first(self, images: int, generator: torch.Generator) -> int:
        """How many of a batch of `images`, the first ones, are told a first estimate of x0 in training."""
        del images, generator
        return 0

    def with_estimate(self, conditioning: Conditioning, x0: Images) -> Conditioning:
        """What the network is told after it has estimated `x0`: the same, unless it is told its own estimates."""
        del x0
        return conditioning

    def rule(self, guidance: Guidance) -> Guidance:
        """The rule that samples the stage where `guidance` is asked for: the same, unless its network is told a weight.

        Raises:
            UserError: if the stage cannot be sampled by `guidance`.
        """
        return guidance

    def given(self, batch: Batch) -> Conditioning:
        """The inputs of `for_sampling`, taken from a batch; used for sample grids."""
        return Conditioning(text=TextSignal(batch.text, batch.text_mask))

    @abstractmethod
    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        """The signals of pictures to be sampled.

        Args:
            given: what comes from outside the stage: `text`, `smaller` (the pictures of the stage before), ….
            size: of the pictures to be sampled.
            aug_level: in [0, 1], how much noise is added to the smaller pictures; a base stage has no use for it.
            generators: one for each picture, on the CPU.

        Raises:
            UserError: if a signal is missing.
        """


class TextConditioner(Conditioner):
    """The caption: for base stages."""

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        return self.given(batch)

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        return Conditioning(text=given["text"])


class LowResConditioner(Conditioner):
    """The caption, and a smaller image with noise added to it: for super-resolution stages.

    Noise conditioning augmentation (Imagen, section 2.4): aug_level is a time on the `augmentation` schedule, in
    training uniform in [0, 1] for each image.

    Args:
        low_resolution: side of the images that the stage before makes.
        resolution: side of the images that this stage makes, a multiple of `low_resolution`. Training may use crops:
            only the ratio of the two counts there.
        augmentation: noise schedule on which aug_level is a time.
        align_corners: enlarge the smaller images as DeepFloyd IF does (`enlarge_between_corners`).

    Raises:
        UserError: if the sizes do not fit.
    """

    def __init__(
        self, low_resolution: int, resolution: int, augmentation: NoiseSchedule, align_corners: bool = False
    ) -> None:
        if low_resolution >= resolution or resolution % low_resolution:
            raise UserError(
                f"a super-resolution stage from {low_resolution} to {resolution} is impossible: the larger size must "
                "be a multiple of the smaller; choose such sizes with resolutions=[...]"
            )
        self.low_resolution = low_resolution
        self.factor = resolution // low_resolution
        self.augmentation = augmentation
        self.align_corners = align_corners
        self.text = TextConditioner()

    def given(self, batch: Batch) -> Conditioning:
        return Conditioning(super().given(batch), smaller=ImageSignal(self._reduced(batch.images)))

    def _reduced(self, images: Images) -> OtherSizeImages:
        return resize(images, (images.shape[-2] // self.factor, images.shape[-1] // self.factor))

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        level = self.augmentation.sample(len(batch.images), generator, batch.images.device)
        return self.at(level, batch, generator)

    def at(self, level: NoiseLevel, batch: Batch, generator: torch.Generator) -> Conditioning:
        """The signals of a training batch with the smaller images noised to `level`."""
        images = batch.images
        eps = moved(torch.randn(images.shape, generator=generator), images.device)
        low_res = LowResImage.augment(self._reduced(images), level, eps, self.align_corners)
        return Conditioning(self.text.for_training(batch, generator), low_res=low_res)

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        smaller: ImageSignal = given["smaller"]
        images = smaller.images.clamp(-1, 1)  # as the training images were
        level = self.augmentation(torch.full((len(images),), aug_level, device=images.device))
        eps = randn_per_image(generators, (images.shape[1], *size), images.device)
        low_res = LowResImage.augment(images, level, eps, self.align_corners)
        return Conditioning(self.text.for_sampling(given, size, aug_level, generators), low_res=low_res)


class CleanLowResConditioner(Conditioner):
    """For the ablation of noise conditioning augmentation: a `LowResConditioner` that always trains at aug_level 0.

    Arguments as there; `augmentation` still says what an aug_level means when the stage is sampled.
    """

    def __init__(self, low_resolution: int, resolution: int, augmentation: NoiseSchedule) -> None:
        self._noised = LowResConditioner(low_resolution, resolution, augmentation)
        self.factor, self.augmentation = self._noised.factor, augmentation

    def given(self, batch: Batch) -> Conditioning:
        return self._noised.given(batch)

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        clean = self.augmentation(torch.zeros(len(batch.images), device=batch.images.device))
        return self._noised.at(clean, batch, generator)

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        return self._noised.for_sampling(given, size, aug_level, generators)


class AddedSignal(Conditioner):
    """What another conditioner tells, and one signal more. Subclasses add theirs.

    Args:
        others: conditioner of all other signals.
    """

    def __init__(self, others: Conditioner) -> None:
        self.others, self.factor, self.looks_at = others, others.factor, others.looks_at

    def given(self, batch: Batch) -> Conditioning:
        return self.others.given(batch)

    def told_first(self, images: int, generator: torch.Generator) -> int:
        return self.others.told_first(images, generator)

    def with_estimate(self, conditioning: Conditioning, x0: Images) -> Conditioning:
        return self.others.with_estimate(conditioning, x0)

    def rule(self, guidance: Guidance) -> Guidance:
        return self.others.rule(guidance)


class PictureConditioner(AddedSignal):
    """What another conditioner tells, and the signal `condition`: a picture to work from, such as an outline.

    The network must read it: `concatenated=["condition"]`.

    Args:
        others: conditioner of all other signals.
        dropout: share of the training pictures that go without, in [0, 1], drawn apart from dropped captions. Guidance
            compares with estimates that lack the picture, and `PerSignalGuidance` with some that lack both.

    Raises:
        UserError: if `dropout` is out of range.
    """

    def __init__(self, others: Conditioner, dropout: float = 0.1) -> None:
        if not 0 <= dropout <= 1:
            raise UserError(f"dropout={dropout} of the picture to condition on must be in [0, 1]")
        super().__init__(others)
        self.dropout = dropout

    def given(self, batch: Batch) -> Conditioning:
        if batch.condition is None:
            raise UserError(
                "the stage is conditioned on pictures and the data give none; name them, such as "
                "data.train.source.condition_column=condition_file_name (docs/how-to/condition_on_a_picture.md)"
            )
        return Conditioning(super().given(batch), condition=ImageSignal(batch.condition))

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        others = self.others.for_training(batch, generator)
        drop = torch.rand(len(batch.images), generator=generator) < self.dropout
        condition = self.given(batch)["condition"].drop(moved(drop, batch.images.device))
        return Conditioning(others, condition=condition)

    def for_validation(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        others = self.others.for_validation(batch, generator)
        return Conditioning(others, condition=self.given(batch)["condition"])

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        """As `Conditioner.for_sampling`; if no `condition` is given, the pictures are sampled without."""
        others = self.others.for_sampling(given, size, aug_level, generators)
        if "condition" in given:
            condition = ImageSignal(resize(given["condition"].images, size))
        else:
            shape, device = (len(generators), 3, *size), others["text"].values.device
            condition = ImageSignal(torch.zeros(shape, device=device))  # its own null
        return Conditioning(others, condition=condition)
