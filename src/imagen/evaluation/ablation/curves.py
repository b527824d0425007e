"""Finished evaluations as labelled curves, for plots and tables that compare models."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imagen.errors import UserError
from imagen.evaluation.compare.sides import MUST_AGREE
from imagen.evaluation.judges.metric import Metric, pareto_pairs, read_metrics
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.sweep.plan import Cell


@dataclass(frozen=True)
class MeasuredCurve:
    """One model, or one way to sample it: a cell for each value of the varied setting, ascending."""

    label: str
    points: Sequence[tuple[float, CellResult]]

    @property
    def cells(self) -> list[CellResult]:
        return [cell for _, cell in self.points]


@dataclass(frozen=True)
class AblationResults:
    """The curves of one ablation. `truth`: the numbers of real pictures; `facts`: those that all evaluations share."""

    title: str
    varied: str
    curves: Sequence[MeasuredCurve]
    truth: Mapping[str, float]
    facts: Mapping[str, Any]

    @property
    def metric_names(self) -> list[str]:
        """The metrics of all curves, in order."""
        return list(dict.fromkeys(name for curve in self.curves for cell in curve.cells for name in cell.metrics))

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of all curves by key, in order."""
        known = read_metrics(self.facts, self.title)
        return {name: known[name] for name in self.metric_names}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The keys (alignment, Fréchet distance) of each judge with a distance; empty if no judge reads captions."""
        return pareto_pairs(self.metrics.values())

    def keys(self, axis: str) -> list[str]:
        """The keys of the metrics on this axis of `imagen.evaluation.judges.metric`."""
        return [key for key, metric in self.metrics.items() if metric.axis == axis]


def curve_of_weights(label: str, results: Mapping[str, Any], curve: str) -> MeasuredCurve:
    """A guidance sweep: the cells of results.json on this curve, by guidance weight.

    Raises:
        UserError: if there are none.
    """
    cells = [_cell(cell) for cell in results["cells"] if cell["curve"] == curve]
    if not cells:
        raise UserError(f"{label}: the evaluation has no curve '{curve}'")
    points = [(result.cell.guidance_weight, result) for result in cells]
    return MeasuredCurve(label, sorted(points, key=lambda point: point[0]))


def curve_across(label: str, results: Mapping[float, Mapping[str, Any]], curve: str) -> MeasuredCurve:
    """One evaluation for each value of a setting other than the guidance weight. Each has one guidance weight.

    Raises:
        UserError: if an evaluation has no cell, or several, on this curve.
    """
    points = []
    for value, evaluation in sorted(results.items()):
        cells = curve_of_weights(label, evaluation, curve).cells
        if len(cells) > 1:
            raise UserError(f"{label}: the evaluation at {value:g} has {len(cells)} guidance weights; give it one")
        points.append((value, cells[0]))
    return MeasuredCurve(label, points)


def insist_on_agreement(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Raise UserError if the evaluations were measured in different ways; it names the first fact that differs."""
    for name, evaluation in zip(names[1:], results[1:], strict=True):
        for fact in MUST_AGREE:
            first, other = results[0].get(fact), evaluation.get(fact)
            if first != other:
                raise UserError(f"{names[0]} and {name} differ in {fact}: {first} and {other}")


def compare_curves(
    title: str, varied: str, curves: Sequence[MeasuredCurve], results: Mapping[str, Any]
) -> AblationResults:
    """The curves as one ablation. `results`: any of its evaluations, for the facts that all share."""
    return AblationResults(title, varied, curves, results["controls"].get(GROUND_TRUTH, {}), results)


def read_published(path: Path, panel: str) -> dict[str, list[tuple[float, float, float]]]:
    """The curves of one panel of a published figure: for each series its (weight, alignment, distance), as listed."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        for row in csv.DictReader(lines):
            if row["panel"] == panel:
                point = float(row["guidance"]), float(row["clip_cosine"]), float(row["fid10k"])
                curves.setdefault(row["series"], []).append(point)
    if not curves:
        raise UserError(f"{path}: no panel '{panel}'")
    return curves


def _cell(cell: Mapping[str, Any]) -> CellResult:
    intervals = {name: Interval(**interval) for name, interval in cell["intervals"].items()}
    return CellResult(Cell(cell["curve"], cell["guidance_weight"]), cell["pictures"], cell["metrics"], intervals)
