"""Negative prompts: what guidance steers away from."""

from collections.abc import Sequence

from imagen.cascade.settings import SamplingSettings
from imagen.checks.captions import checked_prompt
from imagen.diffusion.conditioning import TextSignal
from imagen.errors import UserError
from imagen.inputs.captions import reads_text
from imagen.stages.distillation.guidance_conditioner import NO_NEGATIVE_PROMPT
from imagen.stages.export import StageDescription
from imagen.text.sources import TextSource

NegativePrompts = Sequence[str | None] | str | None
"""One for all, one for each prompt (None: none), or none at all."""


def negative_for_each(
    negative: NegativePrompts, pictures: int, settings: Sequence[SamplingSettings], stages: Sequence[StageDescription]
) -> list[str | None] | None:
    """The negative prompt of each of `pictures` pictures; None: there is none.

    Raises:
        UserError: for what is no prompt, for another number than that of the prompts, and where no stage is guided.
    """
    if negative is None:
        return None
    given = [negative] if isinstance(negative, str) else list(negative)
    for number, one in enumerate(given, start=1):
        if one is not None:
            checked_prompt(one, f"negative prompt {number}")
    if not given or pictures % len(given):
        raise UserError(
            f"negative_prompt: {len(given)} are given for {pictures} pictures; give one, or one for each prompt"
        )
    check_guided(settings, stages, "negative_prompt")
    return [one for one in given for _ in range(pictures // len(given))]


def check_guided(settings: Sequence[SamplingSettings], stages: Sequence[StageDescription], name: str) -> None:
    """Raises UserError where a negative prompt, which the user knows as `name`, would have no effect."""
    if not reads_text(stages[0]):
        raise UserError(f"{name}: these stages were trained without text (text=none); leave it out")
    if any(stage.distilled is not None for stage, _ in zip(stages, settings, strict=False)):
        raise UserError(f"{name}: {NO_NEGATIVE_PROMPT}")
    if all(getattr(one.guidance, "weight", None) == 1 for one in settings):
        raise UserError(f"{name} has no effect at guidance weight 1, which is off: choose a larger weight")


def told_against(text: TextSignal, negative: Sequence[str | None], source: TextSource) -> TextSignal:
    """`text`, for which the embedded negative prompts stand for "no text"; None, of some, leaves the paper's zeros."""
    rows = [row for row, one in enumerate(negative) if one is not None]
    embedded = TextSignal(*source.embed([one for one in negative if one is not None]).pad())
    values, mask = (tensor.new_zeros(len(negative), *tensor.shape[1:]) for tensor in (embedded.values, embedded.mask))
    values[rows], mask[rows] = embedded.values, embedded.mask
    without = TextSignal(values, mask)
    tokens = max(text.values.shape[1], without.values.shape[1])
    padded = text.padded(tokens)  # one multiple: both become as long as the longer one
    return TextSignal(padded.values, padded.mask, without.padded(tokens))
