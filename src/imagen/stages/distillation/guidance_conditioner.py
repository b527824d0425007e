"""The conditioner of a student: its network is told the weight with which its teacher was guided."""

import math
from collections.abc import Iterator, Sequence

import torch

from imagen.data.batch import Batch
from imagen.devices import moved
from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.distillation.told import GUIDANCE, GuidanceWeight, ToldGuidance
from imagen.diffusion.guidance import ClassifierFreeGuidance, Guidance
from imagen.errors import UserError
from imagen.stages.conditioners import AddedSignal, Conditioner
from imagen.tensors import Size


class GuidanceConditioner(AddedSignal):
    """What another conditioner tells, and the signal `guidance`: a weight, uniform in [1, up_to] in training.

    Such a stage is sampled in one pass a step, by the weight of the classifier-free guidance that is asked for. The
    network must read the signal: `guidance=true`.

    Args:
        others: conditioner of all other signals.
        up_to: the largest weight, at least 1; 1 is no guidance at all.

    Raises:
        UserError: if `up_to` is out of range.
    """

    def __init__(self, others: Conditioner, up_to: float) -> None:
        if not 1 <= up_to < math.inf:
            raise UserError(f"up_to={up_to}, the largest guidance weight of a student, must be at least 1 (1 is off)")
        super().__init__(others)
        self.up_to = up_to

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        others = self.others.for_training(batch, generator)
        return Conditioning(others, **{GUIDANCE: self._drawn(batch, generator)})

    def for_validation(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        others = self.others.for_validation(batch, generator)
        return Conditioning(others, **{GUIDANCE: self._drawn(batch, generator)})

    def _drawn(self, batch: Batch, generator: torch.Generator) -> GuidanceWeight:
        weight = 1 + (self.up_to - 1) * torch.rand(len(batch.images), generator=generator)
        return GuidanceWeight(moved(weight, batch.images.device))

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        """As `Conditioner.for_sampling`, with a weight of 1 until `rule` tells another.

        Raises:
            UserError: also if there is a negative prompt, from which one pass cannot steer away.
        """
        if given["text"].without is not None:
            raise UserError(f"negative_prompt: {NO_NEGATIVE_PROMPT}")
        others = self.others.for_sampling(given, size, aug_level, generators)
        ones = torch.ones(len(generators), device=given["text"].values.device)
        return Conditioning(others, **{GUIDANCE: GuidanceWeight(ones)})

    def rule(self, guidance: Guidance) -> Guidance:
        """One pass that is told the weight of `guidance`, which must be plain classifier-free guidance by the caption.

        Raises:
            UserError: for another rule, and for a weight outside of [1, up_to].
        """
        by_text = isinstance(guidance, ClassifierFreeGuidance) and tuple(guidance.without) == ("text",)
        if not isinstance(guidance, ClassifierFreeGuidance) or not by_text or guidance.rescale:
            raise UserError(
                f"guidance by {type(guidance).__name__}: a distilled stage knows plain classifier-free guidance alone; "
                "choose guidance_rule=classifier_free, with rescale=0"
            )
        if not 1 <= guidance.weight <= self.up_to:
            raise UserError(
                f"guidance weight {guidance.weight:g}: this stage was distilled with weights of 1 (off) to "
                f"{self.up_to:g}; choose one of these"
            )
        return ToldGuidance(guidance.weight)


NO_NEGATIVE_PROMPT = "a distilled stage makes one pass a step and cannot steer away from it; leave it out"


def told_up_to(conditioner: Conditioner) -> float | None:
    """The largest guidance weight that a stage so conditioned is told in training; None if it is told none."""
    return next((one.up_to for one in inside(conditioner) if isinstance(one, GuidanceConditioner)), None)


def inside(conditioner: Conditioner) -> Iterator[Conditioner]:
    """The conditioner, and those around which it is put."""
    yield conditioner
    if isinstance(conditioner, AddedSignal):
        yield from inside(conditioner.others)
