"""The numbers of an ablation as Markdown."""

from imagen.evaluation.ablation.curves import AblationResults
from imagen.evaluation.judges.metric import FRECHET, checker_key
from imagen.evaluation.report.tables import with_interval

CHECKED = ("all", "colours", "shapes", "relation", "colour_attribution")
"""Parts and categories of the checker that a table shows, if they were measured."""


def ablation_table(comparison: AblationResults) -> str:
    """A line for each point of each curve, with 95 % intervals; the last line shows real pictures."""
    names = table_metrics(comparison)
    lines = [f"| {comparison.title} | {comparison.varied} | " + " | ".join(f"`{name}`" for name in names) + " |"]
    lines.append("|:--|" + "--:|" * (1 + len(names)))
    for curve in comparison.curves:
        for value, cell in curve.points:
            numbers = " | ".join(with_interval(cell.metrics, cell.intervals, name) for name in names)
            lines.append(f"| {curve.label} | {value:g} | {numbers} |")
    truth = " | ".join(f"{comparison.truth[name]:.3g}" if name in comparison.truth else "" for name in names)
    return "\n".join([*lines, f"| real pictures |  | {truth} |", ""])


def table_metrics(comparison: AblationResults) -> list[str]:
    """The checker's metrics, then alignment and distance of each judge."""
    checked = [checker_key(name) for name in CHECKED]
    judged = [key for pair in comparison.pairs for key in pair] or comparison.keys(FRECHET)
    return [name for name in dict.fromkeys([*checked, *judged]) if name in comparison.metrics]
