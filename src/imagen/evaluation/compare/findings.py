"""What a comparison found, in sentences written from the numbers; they claim no more than the intervals say."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from imagen.evaluation.compare.sides import SharedCell, Side
from imagen.evaluation.judges.metric import ALIGNMENT, CHECKED_ALL, FRECHET, VQA, Metric
from imagen.evaluation.report.best import best_of, is_better, is_worse, judged, kind_of, paired
from imagen.evaluation.report.findings import LEVEL_TEXT, interval_text, missing, named, number_text
from imagen.evaluation.report.tables import Rows, change_text
from imagen.evaluation.results.results import CellResult
from imagen.evaluation.statistics.jackknife import LEVEL
from imagen.evaluation.sweep.plan import Cell

ABOUT = {
    ALIGNMENT: "Alignment",
    VQA: "VQAScore",
    FRECHET: "Distance to real pictures",
    CHECKED_ALL: "Right answers",
}


def comparison_findings(one: Side, other: Side, shared: Sequence[SharedCell]) -> list[str]:
    """One sentence each about alignment, distances and the checker's answers: at which points A (`one`) or B (`other`)
    is better and where they cannot be told apart; and a note of how sure this is."""
    lines = []
    for kind, group in groupby(_judged(one, other), key=kind_of):
        clauses = [f"`{metric.key}`: {text}" for metric in group if (text := _verdict(metric, one, shared))]
        lines += [f"**{ABOUT[kind]}** by {'; by '.join(clauses)}."] if clauses else []
    if any(cell.differences for cell in shared):
        where = f"each of {len(shared)} common points" if len(shared) > 1 else "the one common point"
        lines.append(
            f"**How sure**: A and B were compared at {where}, picture by picture on the same prompts and noise. "
            f"Intervals are {LEVEL_TEXT} each, of sampling only, and not widened for the number of comparisons: where "
            f"nothing differs, one in {1 / (1 - LEVEL):.0f} would still favour A or B. What has no interval is not "
            "told apart. This is about these two models, not about how they were made: another training of "
            "either moves a number further."
        )
    return lines


def bests_table(one: Side, other: Side, shared: Sequence[SharedCell]) -> Rows:
    """For each judge and the checker A's best common point and B's, and the paired difference of the two."""
    rows = [["best by", "A", "B", "A's number", "B's number", "B minus A"]]
    for metric in _judged(one, other):
        mine, theirs = best_of([cell.one for cell in shared], metric), best_of([cell.other for cell in shared], metric)
        if mine is None or theirs is None:
            continue
        change = paired(mine.result, theirs.result, metric.key)
        plain = theirs.result.metrics[metric.key] - mine.result.metrics[metric.key]
        places = [_place(best.result, shared) for best in (mine, theirs)]
        numbers = [number_text(best.result, metric) for best in (mine, theirs)]
        difference = f"{plain:+.3g} (no interval)" if change is None else change_text(change)
        rows.append([metric.key, *places, *numbers, difference])
    return rows


def _judged(one: Side, other: Side) -> list[Metric]:
    """The metrics of both that the sentences are about."""
    return judged(metric for key, metric in one.metrics.items() if key in other.metrics)


def _verdict(metric: Metric, one: Side, shared: Sequence[SharedCell]) -> str:
    """Where B is better, where A is, and where neither can be said to be; empty without the number."""
    known = [cell for cell in shared if metric.key in cell.metrics]
    changes = {cell.cell: cell.differences[metric.key] for cell in known if metric.key in cell.differences}
    if not known:
        return ""
    if not changes:
        return missing(metric, min((cell.one for cell in known), key=lambda result: result.count), one.results)
    every = _weights(shared)
    clauses = []
    for letter, wins in (("B", is_better), ("A", is_worse)):
        won = {cell: change for cell, change in changes.items() if wins(change, metric)}
        if won:
            most = max(won, key=lambda cell: abs(won[cell].estimate))
            largest = f"most at {named([most], every)}: " if len(won) > 1 else ""
            where = f"all {len(won)} points" if 1 < len(won) == len(changes) else named(list(won), every)
            clauses.append(f"{letter} is better at {where} ({largest}{interval_text(won[most])})")
    alike = [cell for cell, change in changes.items() if not change.excludes_zero]
    if alike and not clauses:
        return f"not told apart at any of {len(alike)} points" if len(alike) > 1 else "not told apart"
    clauses += [f"not told apart at {named(alike, every)}"] if alike else []
    return ", ".join(clauses)


def _weights(shared: Sequence[SharedCell]) -> Mapping[str, list[float]]:
    """The weights of the common points of each curve."""
    weights: dict[str, list[float]] = {}
    for cell in shared:
        weights.setdefault(cell.cell.curve, []).append(cell.cell.guidance_weight)
    return weights


def _place(result: CellResult, shared: Sequence[SharedCell]) -> str:
    cell: Cell = result.cell
    several = len({one.cell.curve for one in shared}) > 1
    return f"w = {cell.guidance_weight:g}" + (f" of {cell.curve}" if several else "")
