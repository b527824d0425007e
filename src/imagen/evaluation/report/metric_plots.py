"""Plots of every metric against the guidance weight, and of the checker by category."""

from pathlib import Path
from typing import Any

from imagen.evaluation.judges.metric import CHECKED_ALL, CHECKER
from imagen.evaluation.report.plot_style import (
    CONTROL,
    STYLE,
    colour_of,
    draw_intervals,
    note_in_legend,
    pyplot,
    save,
    title,
)
from imagen.evaluation.results.results import GROUND_TRUTH, NOISE, SHUFFLED, Results

CATEGORY_COLOURS = ("#0b6bcb", "#d9480f", "#2b8a3e", "#6741d9", "#a61e4d", "#846358", "#087f5b", "#5c677d")


def plot_metrics(results: Results, path: Path) -> None:
    """Distances, precision, recall, alignments and the checker's accuracy against the weight, and its categories for
    each curve. Controls are lines, or numbers in the legend if a line would flatten the curves."""
    plt = pyplot()
    single = [name for name, metric in results.metrics.items() if metric.axis != CHECKER or name == CHECKED_ALL]
    by_category = results.curves if CHECKED_ALL in single else []
    count = len(single) + len(by_category)
    columns = min(3, count)
    rows = -(-count // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(4.9 * columns, 3.6 * rows), squeeze=False, layout="constrained"
        )
        panels = list(axes.flat)
        for axis, name in zip(panels, single, strict=False):
            _metric_panel(axis, results, name)
        for axis, label in zip(panels[len(single) :], by_category, strict=False):
            _category_panel(axis, results, label)
        for axis in panels[count:]:
            axis.set_visible(False)
        figure.suptitle(title("Metrics against guidance weight", results), fontsize=12)
        save(figure, path)


def _metric_panel(axis: Any, results: Results, name: str) -> None:
    for label in results.curves:
        cells = [cell for cell in results.curve(label) if name in cell.metrics]
        weights = [cell.cell.guidance_weight for cell in cells]
        values = [cell.metrics[name] for cell in cells]
        colour = colour_of(results, label)
        axis.plot(weights, values, "-o", color=colour, markersize=4, linewidth=1.6, label=label)
        for cell, weight, value in zip(cells, weights, values, strict=True):
            draw_intervals(axis, cell, weight, value, None, name, colour)
    truth = results.controls.get(GROUND_TRUTH, {})
    if name in truth:
        axis.axhline(truth[name], color=CONTROL, linestyle="--", linewidth=1, label="real pictures")
    if name in results.controls.get(SHUFFLED, {}):
        value = results.controls[SHUFFLED][name]
        axis.axhline(value, color=CONTROL, linestyle=":", linewidth=1.4, label="shuffled captions")
    if name in results.controls.get(NOISE, {}):
        note_in_legend(axis, f"noise: {results.controls[NOISE][name]:.3g}")
    _weight_axis(axis, results)
    axis.set_title(name)
    axis.legend()


def _category_panel(axis: Any, results: Results, label: str) -> None:
    cells = results.curve(label)
    # Categories are GenEval's; parts have panels of their own in TensorBoard.
    names = [name for name in results.facts.get("categories", []) if name in cells[0].metrics]
    for colour, name in zip(CATEGORY_COLOURS, names, strict=False):
        known = [cell for cell in cells if name in cell.metrics]
        weights = [cell.cell.guidance_weight for cell in known]
        values = [cell.metrics[name] for cell in known]
        axis.plot(weights, values, "-o", color=colour, markersize=3, label=name)
    for control, line in ((GROUND_TRUTH, "--"), (NOISE, ":")):
        values = [value for key, value in results.controls.get(control, {}).items() if key in names]
        if values:
            at = sum(values) / len(values)
            axis.axhline(at, color=CONTROL, linestyle=line, linewidth=1, label=f"{control}, mean of categories")
    _weight_axis(axis, results)
    axis.set_ylim(-0.03, 1.03)
    axis.set_title(f"checker by category, {label}")
    axis.legend(fontsize=8)


def _weight_axis(axis: Any, results: Results) -> None:
    weights = results.weights
    if weights[0] > 0 and len(weights) > 1:
        axis.set_xscale("log")
    # The labels of close weights would overlap.
    labelled = [w for i, w in enumerate(weights) if i == 0 or w in (1, 1.5, 2, 3, 5, 7, 10) or i == len(weights) - 1]
    axis.set_xticks(labelled, [f"{weight:g}" for weight in labelled])
    axis.set_xticks([], minor=True)
    axis.set_xlabel(f"guidance weight of the {results.facts['weight_of']} (1 is none)")
