"""The tables of a report as rows of text, the head first, for report.md and report.html."""

from collections.abc import Mapping, Sequence

from imagen.evaluation.judges.metric import ALIGNMENT, CHECKED_ALL, CHECKER, RETRIEVAL
from imagen.evaluation.report.cost.numbers import cost_rows
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult, Results
from imagen.evaluation.statistics.audit import Audit
from imagen.evaluation.statistics.jackknife import Interval

Rows = list[list[str]]

ROUNDING = 1e-12
"""Differences below it are zero: the last digits of a mean."""

LONG = 1e6
"""Differences below it are written without an exponent."""


def table_metrics(results: Results) -> list[str]:
    """The metrics of the tables: distances, alignments, retrieval, the checker's total and its categories."""
    names = [name for name, metric in results.metrics.items() if metric.axis != CHECKER]
    return names + [n for n in (CHECKED_ALL, *results.facts.get("categories", [])) if n in results.metric_names]


def curve_table(results: Results, label: str) -> Rows:
    """The numbers of one curve with their intervals: metrics down, weights across, and what a picture costs. Retrieval
    also as a share of that of real pictures; below an alignment, how many pictures it is not of."""
    curve = results.curve(label)
    rows = [["", *_weights(curve)]]
    for name in table_metrics(results):
        rows.append([name, *(with_interval(result.metrics, result.intervals, name) for result in curve)])
        if count := _left_out(results, name):
            rows.append([f"{name}: pictures left out", *[f"{count}"] * len(curve)])
        ceiling = results.controls.get(GROUND_TRUTH, {}).get(name)
        if results.metrics[name].axis in RETRIEVAL.values() and ceiling:
            rows.append([f"{name}, of real", *(f"{result.metrics[name] / ceiling:.2f}" for result in curve)])
    return rows + cost_rows(curve)


def _left_out(results: Results, name: str) -> int:
    """The number of pictures that an alignment is not of, because the judge cannot read their captions."""
    metric = results.metrics[name]
    return results.facts["captions_too_long"].get(metric.judge, 0) if metric.axis == ALIGNMENT else 0


def category_tables(results: Results, label: str) -> dict[str, Rows]:
    """By metric, the numbers of one curve by category, weights across; empty if the prompts have no categories."""
    curve = results.curve(label)
    categories = curve[0].by_category
    tables = {}
    for metric in dict.fromkeys(name for category in categories.values() for name in category.metrics):
        rows = [[f"{metric} by category", "prompts", *_weights(curve)]]
        for name, first in categories.items():
            if metric not in first.metrics:  # a kind of question has only numbers of its answers
                continue
            results_of = [result.by_category[name] for result in curve]
            numbers = [with_interval(one.metrics, one.intervals, metric) for one in results_of]
            rows.append([name, str(first.count), *numbers])
        tables[metric] = rows
    return tables


def best_table(results: Results) -> Rows:
    """The best cell by each metric."""
    rows = [["best by", "value", "w", "curve"]]
    for metric in table_metrics(results):
        if cell := best(results, metric):
            rows.append([metric, f"{cell[2]:.4g}", f"{cell[1]:g}", cell[0]])
    return rows


def audit_table(results: Results) -> Rows:
    """For each audited metric, the cell with the largest difference between calculators, and their numbers there."""
    worst: list[Audit] = []
    for metric in results.metrics:
        keys = {f"{metric} {result.cell.name}" for result in results.cells}
        audits = [audit for audit in results.audits if audit.key in keys]
        worst += [max(audits, key=lambda audit: audit.relative_difference)] if audits else []
    rows = [["largest difference in", "ours", "torchmetrics", "torch-fidelity", "relative difference"]]
    for audit in worst:
        others = [f"{x:.9g}" if x is not None else "" for x in (audit.torchmetrics, audit.torch_fidelity)]
        rows.append([audit.key, f"{audit.ours:.9g}", *others, f"{audit.relative_difference:.1e}"])
    return rows


def best(results: Results, metric: str) -> tuple[str, float, float] | None:
    """(curve, weight, value) of the best cell by a metric; None if no cell has it."""
    known = [result for result in results.cells if metric in result.metrics]
    if not known:
        return None
    choose = min if results.metrics[metric].lower_is_better else max
    chosen = choose(known, key=lambda result: result.metrics[metric])
    return chosen.cell.curve, chosen.cell.guidance_weight, chosen.metrics[metric]


def step_table(results: Results) -> Rows:
    """Paired differences between neighbouring weights, in double asterisks if the interval excludes zero."""
    known = {step.metric for step in results.steps}
    names = [name for name in table_metrics(results) if name in known]
    rows: dict[str, dict[str, str]] = {}
    for step in results.steps:
        more = "" if step.pictures == results.facts["pictures_per_cell"] else f" ({step.pictures} pictures)"
        row = rows.setdefault(f"{step.curve}, {step.from_weight:g} to {step.to_weight:g}{more}", {})
        row[step.metric] = change_text(step.difference)
    return [["step", *names]] + [[name, *(row.get(n, "") for n in names)] for name, row in rows.items()]


def control_table(results: Results) -> Rows:
    """The same numbers of real pictures, noise and shuffled captions."""
    names = table_metrics(results)
    rows = [["control", *names]]
    for control, metrics in results.controls.items():
        intervals = results.control_intervals.get(control, {})
        rows.append([control, *(with_interval(metrics, intervals, name) for name in names)])
    return rows


def _weights(curve: Sequence[CellResult]) -> list[str]:
    return [f"w = {result.cell.guidance_weight:g}" for result in curve]


def change_text(change: Interval) -> str:
    """A difference with its interval, in double asterisks if the interval excludes zero."""
    estimate = 0.0 if abs(change.estimate) < ROUNDING else change.estimate
    text = f"{_signed(estimate, 3)} [{_signed(change.low, 2)}, {_signed(change.high, 2)}]"
    return f"**{text}**" if change.excludes_zero else text


def _signed(value: float, digits: int) -> str:
    return f"{value:+.0f}" if 10**digits <= abs(value) < LONG else f"{value:+.{digits}g}"


def with_interval(metrics: Mapping[str, float], intervals: Mapping[str, Interval], name: str) -> str:
    """A number with its interval, if it has one; empty if there is no such number."""
    if name not in metrics:
        return ""
    interval = intervals.get(name)
    limits = f" [{interval.low:.3g}, {interval.high:.3g}]" if interval else ""
    return f"{metrics[name]:.4g}{limits}"
