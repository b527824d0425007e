"""One row of an order: a prompt with its own settings, as a user writes it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from imagen.checks.arguments import fits
from imagen.checks.captions import checked_prompt
from imagen.diffusion.guidance import check_guidance
from imagen.errors import UserError


@dataclass(frozen=True)
class Row:
    """What a row asks for. What is None is as the whole run has it.

    Args:
        prompt: its caption; None: an embedded caption, or stages without text.
        seed: of its pictures, which are then numbered within the row: they are those of `prompt=... seed=...` alone.
        guidance_weight: of the stages in order, the last one serves all after it; as `guidance_weights` of sample.py.
        negative_prompt: what its pictures are guided away from.
        where: file and line, for messages.
    """

    prompt: str | None = None
    seed: int | None = None
    guidance_weight: tuple[float, ...] | None = None
    negative_prompt: str | None = None
    where: str = field(default="", compare=False)


COLUMNS = tuple(one.name for one in fields(Row) if one.name != "where")


def check_columns(names: list[str], where: str) -> None:
    """Raises UserError for a column that is unknown or there twice, and where there is no prompt."""
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{where}: unknown column {name!r:.80}; {hint}known are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise UserError(f"{where}: the column {name!r} is there twice; keep one")
    if "prompt" not in names:
        raise UserError(f"{where}: no column 'prompt' among {', '.join(names) or 'none'}; every row needs one")


def checked_row(given: Mapping[str, Any], where: str) -> Row:
    """The row of these values; a setting that is None is not set.

    Raises:
        UserError: naming `where`, the column, its value and what it must be.
    """
    check_columns(list(given), where)
    seed, negative = given.get("seed"), given.get("negative_prompt")
    if seed is not None and not fits(seed, int):
        raise UserError(f"{where}, seed={seed!r:.80} must be a whole number; or leave it out")
    return Row(
        prompt=checked_prompt(given["prompt"], where),
        seed=seed,
        guidance_weight=_weights(given.get("guidance_weight"), where),
        negative_prompt=None if negative is None else checked_prompt(negative, f"{where}, negative_prompt"),
        where=where,
    )


def _weights(value: Any, where: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    weights = value if isinstance(value, list) else [value]
    if not weights or not all(fits(weight, float) for weight in weights):
        raise UserError(
            f"{where}, guidance_weight={value!r:.80} must be a number, or one for each stage as in [3, 1.5]; or leave "
            "it out"
        )
    for weight in weights:
        try:
            check_guidance(weight, rescale=0)
        except UserError as error:
            raise UserError(f"{where}, guidance_weight={value!r:.80}: {error}") from None
    return tuple(map(float, weights))
