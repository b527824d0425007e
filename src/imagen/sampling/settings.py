"""How each stage of a cascade is sampled, said in Python: one value for all stages, or one for each role."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from imagen.cascade.embedding_source import EmbeddingSource
from imagen.cascade.settings import SamplingSettings
from imagen.checks.arguments import Count, described, fits
from imagen.diffusion.guidance import ClassifierFreeGuidance, Guidance
from imagen.diffusion.samplers import DPMSolverPP2M, Sampler
from imagen.diffusion.thresholding import DynamicThresholding
from imagen.errors import UserError
from imagen.tensors import Size

# Defaults, equal to conf/sample.yaml.
SAMPLER = DPMSolverPP2M(num_steps=16)
THRESHOLDING = DynamicThresholding()
GUIDANCE = ClassifierFreeGuidance(weight=1)
GUIDANCE_WEIGHTS = (3.0, 1.5)
AUG_LEVEL = 0.1


def settings_by_role(
    roles: Sequence[str],
    *,
    sampler: Any = None,
    steps: Any = None,
    thresholding: Any = None,
    guidance: Any = None,
    guidance_weight: Any = None,
    aug_level: Any = None,
    strength: Any = None,
    resample: Any = None,
    tile_overlap: Any = None,
    sizes: Sequence[Size | None] | None = None,
    embedding: EmbeddingSource | None = None,
) -> list[SamplingSettings]:
    """The settings of each stage. Every argument is one value for all stages, or a mapping by role, such as
    {"base": 3, "sr1": 1.5}, in which the roles left out keep the default; None is the default for all.

    Args:
        roles: names of the stages, in order.
        sampler: a `Sampler`.
        steps: number of steps, in the place of the sampler's own.
        thresholding: a `Thresholding`.
        guidance: a `Guidance`, such as ClassifierFreeGuidance(3, rescale=0.7).
        guidance_weight: in the place of the weight that `guidance` has; 1 is off. A sequence gives them in the order of
            the stages, and its last one serves all stages after it.
        aug_level: noise on the smaller image of a super-resolution stage, in [0, 1].
        strength: where sampling begins, for a picture that is changed: 1 is pure noise, 0 gives the picture back.
        resample: how many times each step is taken, for inpainting.
        tile_overlap: share that neighbouring tiles have in common; None: pictures are sampled whole.
        sizes: of the pictures of each stage, in order.
        embedding: that an unCLIP decoder, the first stage, reads.

    Raises:
        UserError: for a role that is not in the cascade, and for values that are out of range or of another type.
    """
    samplers = _each(sampler, roles, SAMPLER, "sampler")
    steps_of = _each(steps, roles, None, "steps")
    rules = _each(guidance, roles, None, "guidance")
    weights = _each(_by_position(guidance_weight, roles), roles, None, "guidance_weight")
    thresholdings = _each(thresholding, roles, THRESHOLDING, "thresholding")
    strengths = _each(strength, roles, 1.0, "strength")
    times = _each(resample, roles, 1, "resample")
    overlaps = _each(tile_overlap, roles, None, "tile_overlap")
    aug_levels = _aug_levels(aug_level, roles)
    return [
        SamplingSettings(
            sampler=_sampler(samplers[i], steps_of[i]),
            guidance=_guidance(rules[i], weights[i], GUIDANCE_WEIGHTS[min(i, 1)]),
            thresholding=_checked_callable(thresholdings[i], "thresholding"),
            aug_level=_number(aug_levels[i], "aug_level"),
            size=None if sizes is None else sizes[i],
            tile_overlap=None if overlaps[i] is None else _number(overlaps[i], "tile_overlap"),
            strength=_number(strengths[i], "strength"),
            resample=times[i],
            embedding=None if i else embedding,
        )
        for i in range(len(roles))
    ]


def _each(value: Any, roles: Sequence[str], default: Any, name: str) -> list[Any]:
    """One value for each of `roles`."""
    if not isinstance(value, Mapping):
        return [default if value is None else value] * len(roles)
    for role in value:
        if role not in roles:
            raise UserError(f"{name}={{{role!r}: ...}}: no such stage here; choose one of {', '.join(roles)}")
    return [default if value.get(role) is None else value[role] for role in roles]


def _aug_levels(aug_level: Any, roles: Sequence[str]) -> list[Any]:
    """One for each stage; the first enlarges nothing. Raises UserError if it is given one all the same."""
    if isinstance(aug_level, Mapping) and roles[0] in aug_level:
        raise UserError(
            f"aug_level={{{roles[0]!r}: ...}}: {roles[0]} enlarges nothing and has no aug_level; leave it out"
        )
    return [0.0, *_each(aug_level, roles[1:], AUG_LEVEL, "aug_level")]


def _by_position(weights: Any, roles: Sequence[str]) -> Any:
    """A sequence of guidance weights as a mapping by role; anything else as it is."""
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        return weights
    if not 1 <= len(weights) <= max(len(roles), 2):
        raise UserError(f"guidance_weight={list(weights)}: {len(weights)} weights for {len(roles)} stages")
    return {role: weights[min(i, len(weights) - 1)] for i, role in enumerate(roles)}


def _sampler(sampler: Any, steps: Any) -> Sampler:
    if not isinstance(sampler, Sampler):
        raise UserError(f"sampler={sampler!r:.80} is not a Sampler; give one such as DDIMSampler(num_steps=64)")
    if steps is None:
        return sampler
    if not fits(steps, Count):
        raise UserError(f"steps={steps!r:.80} must be {described(Count)}")
    return replace(sampler, num_steps=steps)


def _guidance(rule: Any, weight: Any, default: float) -> Guidance:
    """`rule` with `weight`; without a rule classifier-free guidance, whose weight is `default` unless given."""
    if weight is None:
        return replace(GUIDANCE, weight=default) if rule is None else _checked_callable(rule, "guidance")
    weight = _number(weight, "guidance_weight")
    if rule is None:
        return replace(GUIDANCE, weight=weight)
    if not is_dataclass(rule) or isinstance(rule, type) or not hasattr(rule, "weight"):
        raise UserError(f"guidance_weight={weight:g}: {type(rule).__name__} has no weight; give one of the two")
    weighted: Any = replace(rule, weight=weight)
    return weighted


def _number(value: Any, name: str) -> float:
    if not fits(value, float):
        raise UserError(f"{name}={value!r:.80} must be {described(float)}")
    return float(value)


def _checked_callable(value: Any, name: str) -> Any:
    if not callable(value) or isinstance(value, type):
        raise UserError(f"{name}={value!r:.80} is not an object that can be called; see imagen.diffusion.{name}")
    return value
