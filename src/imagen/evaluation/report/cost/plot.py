"""Alignment and distance against what a picture costs."""

from pathlib import Path
from typing import Any

from imagen.evaluation.judges.metric import FITTING, FRECHET, Metric
from imagen.evaluation.report.cost.numbers import machine_text
from imagen.evaluation.report.pareto_plot import dominated, label_weights
from imagen.evaluation.report.plot_style import (
    CONTROL,
    DOMINATED,
    STYLE,
    colour_of,
    draw_intervals,
    panels,
    pyplot,
    save,
    title,
)
from imagen.evaluation.results.cost import SECONDS, Measure
from imagen.evaluation.results.results import GROUND_TRUTH, Results

COLUMNS = 2


def plot_cost(results: Results, path: Path) -> None:
    """A panel for each distance and alignment (y) against the cost of a picture (x, logarithmic), one line for each
    curve. Weights are written beside the points; a point is grey where another costs no more and is no worse. Nothing
    is drawn, and an earlier plot removed, where the curves do not differ in cost."""
    measure = results.compared_by
    metrics = [metric for metric in results.metrics.values() if metric.axis in (FRECHET, *FITTING)]
    if measure is None or not metrics:
        path.unlink(missing_ok=True)
        return
    plt = pyplot()
    where = f" ({machine_text(results.cells[0].cost)})" if measure is SECONDS else ""
    with plt.rc_context(STYLE):
        figure, axes = panels(plt, len(metrics), COLUMNS, height=4.8)
        for axis, metric in zip(axes, metrics, strict=True):
            _panel(axis, results, metric, measure)
            axis.set_xlabel(f"{measure.name}{where}")
        marks = {mark.get_label(): mark for axis in axes for mark in axis.get_legend_handles_labels()[0]}
        figure.legend(handles=list(marks.values()), loc="outside lower center", ncols=6)
        figure.suptitle(title("Quality against cost", results), fontsize=12)
        save(figure, path)


def _panel(axis: Any, results: Results, metric: Metric, measure: Measure) -> None:
    points = []
    for label in results.curves:
        cells = [one for one in results.curve(label) if metric.key in one.metrics]
        places = [(measure.of(one.cost) or 0.0, one.metrics[metric.key]) for one in cells]
        colour = colour_of(results, label)
        axis.plot(*zip(*places, strict=True), "-o", color=colour, markersize=5, linewidth=1.4, label=label, zorder=3)
        for one, (x, y) in zip(cells, places, strict=True):
            draw_intervals(axis, one, x, y, None, metric.key, colour)
            points.append((one.cell.guidance_weight, (x, y), colour))
    sign = 1 if metric.lower_is_better else -1
    places = [place for _, place, _ in points]
    worse = dominated([(-x, sign * y) for x, y in places])
    grey = [place for place, other in zip(places, worse, strict=True) if other]
    if grey:
        axis.scatter(*zip(*grey, strict=True), s=18, color=DOMINATED, zorder=4, label="dominated by another point")
    truth = results.controls.get(GROUND_TRUTH, {})
    if metric.key in truth:
        axis.axhline(truth[metric.key], color=CONTROL, linestyle="--", linewidth=1, label="real pictures")
    _logarithmic(axis)
    axis.set_ylabel(f"{metric.key}  ({'lower' if metric.lower_is_better else 'higher'} is better)")
    axis.margins(0.1)
    label_weights(axis, points)


def _logarithmic(axis: Any) -> None:
    """A logarithmic axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
