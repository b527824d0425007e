"""Guidance: how conditional and unconditional estimates are combined.

One convention in the whole project: x0 = x0_uncond + weight (x0_cond - x0_uncond), so a weight of 1 is off and 0 is
unconditional. The weights of the two estimates sum to 1 and x0 is affine in eps, v and u, so this is Imagen's
eq. 2, stated there for eps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.noise_level import CommonLevel, NoiseLevel
from imagen.errors import UserError
from imagen.tensors import BroadcastPerImage, Images, PerImage

ConditionalDenoise = Callable[[Images, NoiseLevel, Conditioning], Images]
"""(z, level, conditioning) -> x0: a `Denoiser`, or anything that can be called like one."""


@runtime_checkable
class Guidance(Protocol):
    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        """The guided estimate of x0, not thresholded."""
        ...


@runtime_checkable
class GuidanceOfAPath(Guidance, Protocol):
    """A rule that is made ready for each batch of pictures: it remembers its estimates, or looks at the steps ahead."""

    def begin(self, path: Sequence[float]) -> Guidance:
        """The rule for one batch, which goes through the log-SNRs of `path` (`imagen.diffusion.samplers.Sampler`)."""
        ...


@runtime_checkable
class GuidanceWithPasses(Guidance, Protocol):
    """A rule that says what it costs. It alone knows: a student makes one pass, autoguidance asks another network."""

    def passes(self, log_snr: float) -> int:
        """Network passes for the estimate of one picture at `log_snr`."""
        ...


def begun(guidance: Guidance, path: Sequence[float]) -> Guidance:
    """`guidance`, ready for one batch of pictures."""
    return guidance.begin(path) if isinstance(guidance, GuidanceOfAPath) else guidance


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """Classifier-free guidance (Ho & Salimans 2021; Imagen, section 2.2).

    Args:
        weight: 1 is off and costs one conditional pass, 0 costs one unconditional pass.
        rescale: how far to pull the standard deviation of each guided image back to that of the conditional estimate
            (Lin et al. 2023, section 3.4, there with 0.7 on v; here on x0); 0 is off, 1 is all the way.
        batched: evaluate both estimates in one pass of the network on twice the batch: faster, at the cost of memory.
        without: names of the signals that the unconditional estimate lacks (`Conditioning.without`).

    Raises:
        UserError: unless weight is finite and not negative, and rescale in [0, 1].
    """

    weight: float | int
    rescale: float | int = 0.0
    batched: bool = True
    without: Sequence[str] = field(default=("text",), metadata={"added_later": True})

    def __post_init__(self) -> None:
        check_guidance(self.weight, self.rescale)

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        if self.weight == 1:
            return denoiser(z, level, conditioning)
        if self._unconditional:
            return denoiser(z, level, conditioning.without(*self.without))
        told = [conditioning, conditioning.without(*self.without)]
        x0_cond, x0_uncond = estimates(denoiser, z, level, told, self.batched)
        return combine(x0_cond, x0_uncond, self.weight, self.rescale)

    @property
    def _unconditional(self) -> bool:
        return self.weight == 0 and self.rescale == 0

    def passes(self, log_snr: float) -> int:
        """See `GuidanceWithPasses`."""
        del log_snr
        return 1 if self.weight == 1 or self._unconditional else 2


@dataclass(frozen=True)
class IntervalGuidance:
    """Classifier-free guidance inside an interval of noise, none outside (Kynkäänniemi et al. 2024).

    The images of a batch may be at different levels; the level of each decides whether it is guided. Where none is, one
    conditional pass is enough.

    Args:
        weight: inside the interval; 1 is off.
        log_snr_min: the noisy end of the interval, inclusive. The paper's EDM2-XXL interval is about [-0.95, 2.52].
        log_snr_max: its clean end, inclusive.
        rescale: as in `ClassifierFreeGuidance`.
        batched: as in `ClassifierFreeGuidance`.
        without: as in `ClassifierFreeGuidance`.

    Raises:
        UserError: unless weight is finite and not negative, rescale in [0, 1], and log_snr_min <= log_snr_max.
    """

    weight: float | int
    log_snr_min: float | int
    log_snr_max: float | int
    rescale: float | int = 0.0
    batched: bool = True
    without: Sequence[str] = field(default=("text",), metadata={"added_later": True})

    def __post_init__(self) -> None:
        check_guidance(self.weight, self.rescale)
        if not self.log_snr_min <= self.log_snr_max:
            raise UserError(
                f"guidance interval is [{self.log_snr_min}, {self.log_snr_max}] in log-SNR; "
                "log_snr_min must not be above log_snr_max"
            )

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        # Asking the device for levels that are not common to the batch makes this process wait for it.
        known = torch.full((1,), level.common, dtype=z.dtype) if isinstance(level, CommonLevel) else level.log_snr
        if self.weight == 1 or not self._guided(known).any():
            return denoiser(z, level, conditioning)
        told = [conditioning, conditioning.without(*self.without)]
        x0_cond, x0_uncond = estimates(denoiser, z, level, told, self.batched)
        x0 = combine(x0_cond, x0_uncond, self.weight, self.rescale)
        return torch.where(self._guided(level.log_snr)[:, None, None, None], x0, x0_cond)

    def _guided(self, log_snr: PerImage) -> Bool[Tensor, "batch"]:
        return (log_snr >= self.log_snr_min) & (log_snr <= self.log_snr_max)

    def passes(self, log_snr: float) -> int:
        """See `GuidanceWithPasses`: two inside the interval, one outside."""
        return 1 if self.weight == 1 or not self._guided(torch.tensor([log_snr])).any() else 2


@dataclass(frozen=True)
class PerSignalGuidance:
    """Guidance with a weight for each of several signals (InstructPix2Pix, Brooks et al. 2023, eq. 3).

    The signals are added one after the other, each with its own weight. For a picture c_I and then a text c_T, with
    e(., .) the estimate of x0 given both and ∅ the signal's null:

        x0 = e(∅, ∅) + w_I (e(c_I, ∅) - e(∅, ∅)) + w_T (e(c_I, c_T) - e(c_I, ∅))

    Signals without a weight are always told. Equal weights are `ClassifierFreeGuidance` without all of them; where all
    are 1 one conditional pass is enough. An estimate that cancels out is not computed.

    Args:
        weights: by the name of the signal.
        order: the same names, the signal that is added first to begin with.
        rescale: as in `ClassifierFreeGuidance`.
        batched: evaluate all estimates in one pass of the network: faster, at the cost of memory.

    Raises:
        UserError: unless each weight is finite and not negative, `order` names each signal once, and rescale is in
            [0, 1].
    """

    weights: Mapping[str, float | int]
    order: Sequence[str] = ("condition", "text")
    rescale: float | int = 0.0
    batched: bool = True

    def __post_init__(self) -> None:
        for weight in self.weights.values():
            check_guidance(weight, self.rescale)
        if not self.weights or sorted(self.order) != sorted(self.weights):
            raise UserError(
                f"guidance weights are of {', '.join(self.weights) or 'no signal'}, and their order is "
                f"[{', '.join(self.order)}]: name the same signals, each once"
            )

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        if missing := [name for name in self.order if name not in conditioning]:
            raise UserError(
                f"guidance has a weight for {missing[0]!r}, which this stage is not told, only "
                f"{', '.join(conditioning)}: choose the rule for a stage that is, as sampling.base.guidance_rule=..."
            )
        shares = self._shares
        told_less = [conditioning.without(*self.order[told:]) for told in shares]
        estimated = dict(zip(shares, estimates(denoiser, z, level, told_less, self.batched), strict=True))
        x0 = torch.stack([shares[told] * x0 for told, x0 in estimated.items()]).sum(dim=0)
        return rescaled(x0, estimated[len(self.order)], self.rescale) if self.rescale else x0

    @property
    def _shares(self) -> dict[int, float | int]:
        """By the number of signals, from the first of the order, that an estimate is told: its share, as a part of its
        own step and of the next. Estimates that are not needed are left out."""
        weights = [1.0, *(self.weights[name] for name in self.order), 0.0]
        shares = {told: weights[told] - weights[told + 1] for told in range(len(self.order) + 1)}
        return {told: share for told, share in shares.items() if share or (told == len(self.order) and self.rescale)}

    def passes(self, log_snr: float) -> int:
        """See `GuidanceWithPasses`: one for each estimate that does not cancel out."""
        del log_snr
        return len(self._shares)


def estimates(
    denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, told: Sequence[Conditioning], batched: bool
) -> Sequence[Images]:
    """An estimate of x0 for each conditioning at the same z, from one pass of the network if `batched`."""
    if not batched:
        return [denoiser(z, level, conditioning) for conditioning in told]
    count = len(told)
    together = NoiseLevel(level.log_snr.repeat(count))
    return denoiser(z.repeat(count, 1, 1, 1), together, reduce(Conditioning.concat, told)).chunk(count)


def combine(
    x0_cond: Images, x0_uncond: Images, weight: float | int | BroadcastPerImage, rescale: float | int
) -> Images:
    """The guided estimate, its standard deviation over each image pulled towards that of `x0_cond` by `rescale`."""
    x0 = torch.lerp(x0_uncond, x0_cond, weight)
    return rescaled(x0, x0_cond, rescale) if rescale else x0


def rescaled(x0: Images, x0_cond: Images, rescale: float | int) -> Images:
    """`x0`, its standard deviation over each image pulled towards that of `x0_cond` by `rescale`."""
    axes = (1, 2, 3)
    ratio = x0_cond.std(dim=axes, keepdim=True) / x0.std(dim=axes, keepdim=True).clamp_min(1e-12)
    return x0 * (1 + rescale * (ratio - 1))


LARGEST_WEIGHT = 1e30
"""Far larger weights overflow float32, which would only show while sampling."""


def check_guidance(weight: float | int, rescale: float | int) -> None:
    """Raises UserError unless weight is in [0, LARGEST_WEIGHT], and rescale in [0, 1]."""
    if not 0 <= weight <= LARGEST_WEIGHT:
        raise UserError(f"guidance weight is {weight}; it must be at least 0 (1 is off) and at most {LARGEST_WEIGHT:g}")
    if not 0 <= rescale <= 1:
        raise UserError(f"guidance rescale is {rescale}; it must be in [0, 1] (0 is off)")
