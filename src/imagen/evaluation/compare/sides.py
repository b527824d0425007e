"""Two finished evaluations side by side: two models on the same prompts and noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.checks.foreign import read_json
from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.evaluation.judges.metric import Metric, read_metrics
from imagen.evaluation.results.archive import Archive, read_archive
from imagen.evaluation.results.foreign import check_one_evaluation, check_results
from imagen.evaluation.results.results import FORMAT, CellResult
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.sweep.plan import Cell

MUST_AGREE = ("judges", "checker", "prompts", "texts_sha256", "reference", "seed", "pictures_per_cell", "resolution")
"""Facts that must agree, or a difference of two numbers says nothing about the two models."""


@dataclass(frozen=True)
class Side:
    """One of the two evaluations: its name, results.json and archive."""

    name: str
    results: Mapping[str, Any]
    archive: Archive

    @property
    def metrics(self) -> dict[str, Metric]:
        """Its metrics by key."""
        return read_metrics(self.results, self.name)

    @property
    def cells(self) -> dict[Cell, CellResult]:
        cells = {}
        for content, name in zip(self.results["cells"], self.archive.cells, strict=True):
            cell = Cell(content["curve"], content["guidance_weight"])
            intervals = {metric: Interval(**interval) for metric, interval in content["intervals"].items()}
            jackknives = self.archive.jackknives.get(name, {})
            cells[cell] = CellResult(cell, content["pictures"], content["metrics"], intervals, jackknives)
        return cells


@dataclass(frozen=True)
class SharedCell:
    """One cell of both evaluations. `differences`: `other` minus `one` for every metric with a jackknife on both sides,
    paired because both have the same prompts and noise."""

    cell: Cell
    one: CellResult
    other: CellResult
    differences: Mapping[str, Interval]

    @property
    def metrics(self) -> list[str]:
        return [name for name in self.one.metrics if name in self.other.metrics]


def load_side(folder: Path, name: str) -> Side:
    """The evaluation in `folder`. Raises UserError if it is missing or not finished."""
    side = Side(name, read_results(folder), read_archive(folder))
    check_one_evaluation(side.results, side.archive.cells, str(folder))
    if side.results.get("fingerprint") != side.archive.fingerprint:
        raise UserError(
            f"compare: results.json and the kept pictures in {folder} belong to different evaluations; "
            "finish the last one"
        )
    return side


def read_results(folder: Path) -> dict[str, Any]:
    """The content of results.json. Raises UserError if it is missing, damaged, of another format, or holds invalid
    values."""
    path = folder / "results.json"
    try:
        results = read_json(path, "finish that evaluation first")
    except OSError as error:
        raise UserError(f"compare: {path} cannot be read; finish that evaluation first ({error})") from error
    if not isinstance(results, dict):
        raise UserError(f"compare: {path} holds no results; finish that evaluation first")
    if results.get("format") != FORMAT:
        raise UserError(
            f"compare: {path} has format {results.get('format')}, this version reads {FORMAT}; evaluate again"
        )
    check_results(results, str(path))
    read_metrics(results, f"compare: {path}")
    return results


def shared_cells(one: Side, other: Side) -> list[SharedCell]:
    """The common cells, by curve and ascending weight.

    Raises UserError if the two were measured in different ways (names the fact) or share no cell.
    """
    for fact in MUST_AGREE:
        # .get: results of an earlier version have no texts_sha256
        insist_on_same("compare", fact, one, other, one.results.get(fact), other.results.get(fact))
    insist_on_same("compare", "cascade.seed", one, other, _seeds(one), _seeds(other))
    mine, others = one.cells, other.cells
    shared = [SharedCell(c, mine[c], others[c], _differences(mine[c], others[c])) for c in mine if c in others]
    if not shared:
        raise UserError(f"compare: {one.name} and {other.name} share no curve and guidance weight")
    return shared


def insist_on_same(key: str, fact: str, one: Side, other: Side, mine: Any, others: Any) -> None:
    """Raises UserError, which begins with the user's `key`, unless both sides agree in `fact`."""
    if mine != others:
        raise UserError(printable(f"{key}: {one.name} and {other.name} differ in {fact}: {mine} and {others}"))


def _seeds(side: Side) -> list[int]:
    """The seeds of the curves' noise; empty if an earlier version did not record them."""
    stages = [stage for curve in side.results.get("curves", {}).values() for stage in curve.get("stages", [])]
    return sorted({stage["seed"] for stage in stages if "seed" in stage})


def _differences(one: CellResult, other: CellResult) -> dict[str, Interval]:
    both = [
        metric
        for metric, mine in one.jackknives.items()
        if metric in other.jackknives and len(mine.without) == len(other.jackknives[metric].without)
    ]
    return {metric: (other.jackknives[metric] - one.jackknives[metric]).interval for metric in both}
