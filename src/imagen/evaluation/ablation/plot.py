"""The plot of an ablation: fidelity against alignment, the checker's rates, and the published curves."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagen.errors import UserError
from imagen.evaluation.ablation.curves import AblationResults
from imagen.evaluation.judges.metric import ALIGNMENT, CHECKED_ALL, FRECHET, checker_key
from imagen.evaluation.report.pareto_plot import label_weights
from imagen.evaluation.report.plot_style import CONTROL, STYLE, draw_intervals, pyplot, save

COLOURS = ("#0b6bcb", "#d9480f", "#2b8a3e", "#6741d9", "#a61e4d", "#846358")
PARTS = ("background", "objects", "colours", "shapes", "relation", "colour_attribution")
"""Parts that the checker reports, from the first learned to the last learned."""
CHECKED = {CHECKED_ALL: "share of pictures with all parts right", checker_key("colours"): "with all colours right"}
COLUMNS = 3
SHUFFLE = 0.07  # offset between curves in the panel of parts
Published = Mapping[str, Sequence[tuple[float, float, float]]]
Draw = Callable[[Any], None]


def plot_guidance_ablation(comparison: AblationResults, published: Published, path: Path) -> None:
    """Guidance sweeps of several models. Panels: distance against alignment for each judge, with weights at the points;
    the published figure; the checker's rates against the weight; its parts at the weight of best alignment."""
    panels: list[Draw] = [lambda axis, pair=pair: _pareto(axis, comparison, *pair) for pair in comparison.pairs]
    if published:
        panels.append(lambda axis: _published(axis, published))
    checked = [name for name in CHECKED if name in comparison.metrics]
    for name in checked:
        panels.append(lambda axis, name=name: _metric(axis, comparison, name, logarithmic=True))
    if checked and comparison.pairs:
        panels.append(lambda axis: _parts(axis, comparison, comparison.pairs[0][0]))
    _figure(panels, comparison, path)


def plot_ablation_across(comparison: AblationResults, path: Path) -> None:
    """Curves over a setting other than the guidance weight: the checker's accuracy, alignment and distances."""
    checked = [name for name in (CHECKED_ALL, checker_key("shapes")) if name in comparison.metrics]
    names = [*checked, *comparison.keys(ALIGNMENT)[:1], *comparison.keys(FRECHET)]
    panels: list[Draw] = [lambda axis, name=name: _metric(axis, comparison, name) for name in names]
    _figure(panels, comparison, path)


def _figure(panels: Sequence[Draw], comparison: AblationResults, path: Path) -> None:
    """Raises UserError if there is nothing to draw."""
    if not panels:
        raise UserError(f"{comparison.title}: the evaluations measured no alignment and used no checker; add a judge")
    plt = pyplot()
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(5.4 * columns, 4.4 * rows), squeeze=False, layout="constrained"
        )
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        count, side = comparison.facts["pictures_per_cell"], comparison.facts["resolution"]
        figure.suptitle(f"{comparison.title}: {count} pictures of {side} × {side} for each point, 95 % intervals")
        for draw, axis in zip(panels, axes.flat, strict=False):
            draw(axis)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path)


def _pareto(axis: Any, comparison: AblationResults, alignment: str, distance: str) -> None:
    points = []
    for colour, curve in zip(COLOURS, comparison.curves, strict=False):
        known = [(value, cell) for value, cell in curve.points if {alignment, distance} <= cell.metrics.keys()]
        places = [(cell.metrics[alignment], cell.metrics[distance]) for _, cell in known]
        axis.plot(*zip(*places, strict=True), "-o", color=colour, markersize=4.5, linewidth=1.5, label=curve.label)
        for (value, cell), (x, y) in zip(known, places, strict=True):
            draw_intervals(axis, cell, x, y, alignment, distance, colour)
            points.append((value, (x, y), colour))
    if distance in comparison.truth:
        axis.axhline(comparison.truth[distance], color=CONTROL, linestyle="--", linewidth=1, label="real against real")
    axis.margins(0.08)
    axis.set_ylim(bottom=0)
    real = f"; real pictures {comparison.truth[alignment]:.3f}" if alignment in comparison.truth else ""
    axis.set_xlabel(f"{alignment}  (higher is better{real})")
    axis.set_ylabel(f"{distance}  (lower is better)")
    axis.set_title(f"fidelity against alignment, {comparison.metrics[distance].judge}")
    axis.legend(fontsize=8)
    label_weights(axis, points)


def _metric(axis: Any, comparison: AblationResults, name: str, logarithmic: bool = False) -> None:
    for colour, curve in zip(COLOURS, comparison.curves, strict=False):
        known = [(value, cell) for value, cell in curve.points if name in cell.metrics]
        values = [value for value, _ in known]
        axis.plot(
            values, [cell.metrics[name] for _, cell in known], "-o", color=colour, markersize=4, label=curve.label
        )
        for value, cell in known:
            draw_intervals(axis, cell, value, cell.metrics[name], None, name, colour)
    measures = comparison.metrics[name].axis
    if measures == FRECHET and name in comparison.truth:
        axis.axhline(comparison.truth[name], color=CONTROL, linestyle="--", linewidth=1, label="real against real")
    values = sorted({value for curve in comparison.curves for value, _ in curve.points})
    if logarithmic:
        axis.set_xscale("log")
        values = [value for value in values if value in (1, 1.5, 2, 3, 4, 6, 10)]
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.set_xticks([], minor=True)
    if measures != ALIGNMENT:
        axis.set_ylim(0, max(axis.get_ylim()[1], 0.1))
    axis.set_xlabel(comparison.varied)
    axis.set_title(CHECKED.get(name, name))
    axis.legend(fontsize=8)


def _parts(axis: Any, comparison: AblationResults, alignment: str) -> None:
    names = [part for part in PARTS if checker_key(part) in comparison.metrics]
    middle = (len(comparison.curves) - 1) / 2
    for index, (colour, curve) in enumerate(zip(COLOURS, comparison.curves, strict=False)):
        value, cell = max(curve.points, key=lambda point: point[1].metrics[alignment])
        for place, part in enumerate(names):
            x, name = place + SHUFFLE * 2 * (index - middle), checker_key(part)
            label = f"{curve.label}, w = {value:g}" if place == 0 else None
            axis.plot([x], [cell.metrics[name]], "o", color=colour, markersize=5, label=label)
            draw_intervals(axis, cell, x, cell.metrics[name], None, name, colour)
    axis.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axis.set_ylim(0, 1.03)
    axis.set_title("parts that hold, at the weight of best alignment")
    axis.legend(fontsize=8)


def _published(axis: Any, published: Published) -> None:
    points = []
    for colour, (label, curve) in zip(COLOURS, published.items(), strict=False):
        places = [(alignment, distance) for _, alignment, distance in curve]
        axis.plot(*zip(*places, strict=True), "-o", color=colour, markersize=4, linewidth=1.5, label=label)
        points += [(weight, place, colour) for (weight, *_), place in zip(curve, places, strict=True)]
    axis.set_xlabel("CLIP score (cosine)")
    axis.set_ylabel("FID-10K, COCO")
    axis.set_title("the paper's figure 4, digitised (arXiv 2205.11487)")
    axis.legend(fontsize=8)
    label_weights(axis, points)
