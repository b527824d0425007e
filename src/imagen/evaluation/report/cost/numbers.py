"""Costs as rows of a table, in results.json, in TensorBoard and in the interactive plot."""

from collections.abc import Sequence
from typing import Any

from imagen.evaluation.results.cost import PASSES, SECONDS, Cost
from imagen.evaluation.results.results import CellResult

UNKNOWN = "–"
"""Of pictures that an earlier version sampled, and of stages whose passes nobody knows."""


def cost_json(cost: Cost) -> dict[str, Any]:
    """The fields of a cell in results.json."""
    on = [{"device": device, "threads": threads} for device, threads in cost.sampled_on]
    return {"seconds_per_picture": cost.seconds, "passes": dict(cost.passes), "sampled_on": on}


def cost_rows(curve: Sequence[CellResult]) -> list[list[str]]:
    """The rows of a table with the cells of a curve across: seconds per picture, and the network passes of each
    stage."""
    costs = [result.cost for result in curve]
    rows = [[SECONDS.name, *(UNKNOWN if cost.seconds is None else f"{cost.seconds:.3g}" for cost in costs)]]
    for stage in dict.fromkeys(stage for cost in costs for stage in cost.passes):
        known = [cost.passes.get(stage) for cost in costs]
        rows.append([f"{PASSES.name}, {stage}", *(UNKNOWN if one is None else f"{one}" for one in known)])
    return rows


def cost_numbers(cost: Cost) -> dict[str, float | int]:
    """What is known, by name: the axes of the interactive plot."""
    known = {measure.name: measure.of(cost) for measure in (SECONDS, PASSES)}
    return {name: value for name, value in known.items() if value}  # 0 has no place on a logarithmic axis


def cost_scalars(cost: Cost) -> dict[str, float | int]:
    """What is known, by TensorBoard's tags."""
    by_stage = {f"cost/passes/{stage}": count for stage, count in cost.passes.items()}
    known = {"cost/seconds_per_picture": cost.seconds, "cost/passes": cost.all_passes, **by_stage}
    return {tag: value for tag, value in known.items() if value is not None}


def machine_text(cost: Cost) -> str:
    """Where the pictures were sampled, as in "cpu, 2 threads"."""
    return "; ".join(
        f"{'' if device is None else f'{device}, '}{threads} thread{'s' if threads > 1 else ''}"
        for device, threads in cost.sampled_on
    )
