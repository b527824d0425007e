"""The tables of a report as rows of text, the head first; report.md and report.html show the same."""

from imagen.evaluation.results import CellResult, Results

Rows = list[list[str]]


def table_metrics(results: Results) -> list[str]:
    """The metrics of the tables: distances, alignments, the checker's total and GenEval's categories."""
    wanted = [name for name in results.metric_names if not name.startswith("checker")]
    return wanted + [n for n in ("checker[all]", *results.facts.get("categories", [])) if n in results.metric_names]


def curve_table(results: Results, label: str) -> Rows:
    """The cells of one curve with their intervals."""
    names = table_metrics(results)
    rows = [["w", *names]]
    for result in results.curve(label):
        rows.append([f"{result.cell.guidance_weight:g}", *(_with_interval(result, name) for name in names)])
    return rows


def step_table(results: Results) -> Rows:
    """Paired differences between neighbouring weights, between double asterisks where the interval excludes zero."""
    known = {step.metric for step in results.steps}
    names = [name for name in table_metrics(results) if name in known]
    found: dict[str, dict[str, str]] = {}
    for step in results.steps:
        row = found.setdefault(f"{step.thresholding}, {step.from_weight:g} to {step.to_weight:g}", {})
        change = step.difference
        text = f"{change.estimate:+.3g} [{change.low:+.2g}, {change.high:+.2g}]"
        row[step.metric] = f"**{text}**" if change.excludes_zero else text
    return [["step", *names]] + [[name, *(row.get(n, "") for n in names)] for name, row in found.items()]


def control_table(results: Results) -> Rows:
    """The same numbers of real pictures, noise and shuffled captions."""
    names = table_metrics(results)
    rows = [["control", *names]]
    for control, metrics in results.controls.items():
        rows.append([control, *(f"{metrics[name]:.4g}" if name in metrics else "" for name in names)])
    return rows


def _with_interval(result: CellResult, name: str) -> str:
    if name not in result.metrics:
        return ""
    interval = result.intervals.get(name)
    limits = f" [{interval.low:.3g}, {interval.high:.3g}]" if interval else ""
    return f"{result.metrics[name]:.4g}{limits}"
