"""Self-conditioning: a stage whose network is told its own last estimate of x0."""

from collections.abc import Sequence

import torch

from imagen.data.batch import Batch
from imagen.diffusion.conditioning import Conditioning, ImageSignal
from imagen.errors import UserError
from imagen.stages.conditioners import AddedSignal, Conditioner
from imagen.tensors import Images, Size


class SelfConditioner(AddedSignal):
    """What another conditioner tells, and the signal `estimate`: the last estimate of x0 (Chen et al. 2022, section 3).

    In sampling it is that of the step before, guided, thresholded and corrected; the first step has none, which is
    mid-grey. In training `share` of each batch is told a first estimate for the same noise, made without a gradient;
    the others are told none. The network must read the signal: `concatenated=["estimate"]`.

    Args:
        others: conditioner of all other signals.
        share: of the training pictures that are told an estimate, in [0, 1]; 0.5 in the paper. A training step costs
            `share` forward passes more.

    Raises:
        UserError: if `share` is out of range.
    """

    def __init__(self, others: Conditioner, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"share={share} of the training pictures that are told an estimate must be in [0, 1]")
        super().__init__(others)
        self.share = share

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        return Conditioning(self.others.for_training(batch, generator), estimate=none_yet(batch.images))

    def for_validation(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        return Conditioning(self.others.for_validation(batch, generator), estimate=none_yet(batch.images))

    def told_first(self, images: int, generator: torch.Generator) -> int:
        # The first of a shuffled batch. A number that does not divide is rounded up or down by chance.
        return int(images * self.share + torch.rand((), generator=generator).item())

    def with_estimate(self, conditioning: Conditioning, x0: Images) -> Conditioning:
        estimate = ImageSignal(x0.clamp(-1, 1))
        return Conditioning(super().with_estimate(conditioning, x0), estimate=estimate)

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        others = self.others.for_sampling(given, size, aug_level, generators)
        images = torch.empty(len(generators), 3, *size, device=others["text"].values.device)
        return Conditioning(others, estimate=none_yet(images))


def none_yet(images: Images) -> ImageSignal:
    """No estimate, for pictures of the size of `images`."""
    return ImageSignal(images).null()
