"""Two finished evaluations side by side, from their results.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagen.errors import UserError

MUST_AGREE = ("judges", "checker", "prompts", "reference", "seed", "pictures_per_cell", "resolution")
"""Facts without which a difference of two numbers says nothing about the two models."""


def load_results(folder: Path) -> dict[str, Any]:
    """The content of results.json. Raises UserError when the evaluation is not there or not finished."""
    path = folder / "results.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"compare: {path} cannot be read; finish that evaluation first ({error})") from error


def compare_results(one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str]) -> str:
    """A Markdown table with a line for each number of each cell that both have: both values and their intervals.

    Raises UserError, naming the fact, when they were measured in different ways or share no cell.
    """
    for fact in MUST_AGREE:
        if one[fact] != other[fact]:
            raise UserError(f"compare: {names[0]} and {names[1]} differ in {fact}: {one[fact]} and {other[fact]}")
    others = {_key(cell): cell for cell in other["cells"]}
    shared = [(cell, others[_key(cell)]) for cell in one["cells"] if _key(cell) in others]
    if not shared:
        raise UserError(f"compare: {names[0]} and {names[1]} share no guidance weight and thresholding")
    lines = [f"| thresholding | w | number | {names[0]} | {names[1]} |", "|:--|--:|:--|--:|--:|"]
    for left, right in shared:
        start = f"| {left['thresholding']} | {left['guidance_weight']:g}"
        for metric in [name for name in left["metrics"] if name in right["metrics"]]:
            lines.append(f"{start} | {metric} | {_number(left, metric)} | {_number(right, metric)} |")
    return "\n".join([f"# {names[0]} and {names[1]}", "", *lines, ""])


def _key(cell: Mapping[str, Any]) -> tuple[str, float]:
    return cell["thresholding"], cell["guidance_weight"]


def _number(cell: Mapping[str, Any], metric: str) -> str:
    interval = cell["intervals"].get(metric)
    limits = f" [{interval['low']:.3g}, {interval['high']:.3g}]" if interval else ""
    return f"{cell['metrics'][metric]:.4g}{limits}"
