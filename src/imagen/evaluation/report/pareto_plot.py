"""Fidelity against alignment, the paper's Pareto curves, and against shares of right answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.evaluation.judges.metric import CHECKED_ALL, FRECHET, RETRIEVAL, pareto_pairs
from imagen.evaluation.report.plot_style import (
    CONTROL,
    DOMINATED,
    STYLE,
    colour_of,
    draw_intervals,
    note_in_legend,
    panels,
    pyplot,
    save,
    title,
)
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult, Results


@dataclass(frozen=True)
class Line:
    """Cells by ascending weight, drawn as one line. `style`: matplotlib's style."""

    label: str
    colour: str
    cells: Sequence[CellResult]
    style: str = "-"


Controls = Mapping[str, Mapping[str, float]]

MANY = 3
"""Panels in a row; as many categories of a checker are too many."""


def plot_pareto(results: Results, path: Path) -> None:
    """The plot of one evaluation: one panel for each judge that measures both axes, one line for each curve."""
    curves = [Line(label, colour_of(results, label), results.curve(label)) for label in results.curves]
    pairs = pareto_pairs(results.metrics.values())
    plot_curves(curves, results.controls, pairs, title("Fidelity against alignment", results), path)


def plot_answers(results: Results, path: Path) -> None:
    """The same with shares of right answers in place of alignments: see `answer_pairs`."""
    curves = [Line(label, colour_of(results, label), results.curve(label)) for label in results.curves]
    heading = title("Fidelity against right answers", results)
    plot_curves(curves, results.controls, answer_pairs(results), heading, path, "share")


def answer_pairs(results: Results) -> list[tuple[str, str]]:
    """The keys (share of right answers, Fréchet distance) of a plot: R@1 of each judge that reads captions, and the
    checker's categories, or its total if they are many, against the first distance. Empty without distances."""
    fidelity = {metric.judge: metric.key for metric in results.metrics.values() if metric.axis == FRECHET}
    if not fidelity:
        return []
    retrieval = [metric for metric in results.metrics.values() if metric.axis == RETRIEVAL[1]]
    categories = [key for key in results.facts.get("categories", []) if key in results.metrics]
    checked = categories if len(categories) < MANY else [CHECKED_ALL]
    first = next(iter(fidelity.values()))
    return [(metric.key, fidelity[metric.judge]) for metric in retrieval] + [(key, first) for key in checked]


def plot_curves(
    curves: Sequence[Line],
    controls: Controls,
    pairs: Sequence[tuple[str, str]],
    heading: str,
    path: Path,
    across: str = "alignment",
) -> None:
    """Fréchet distance (y) against alignment or, as `across` says, another number (x), one panel for each of `pairs`.
    Weights are written beside the points, dominated points are grey, controls are dashed lines or numbers in the
    legend. Nothing is drawn without pairs: no judge measured alignment, or there is only one picture."""
    plt = pyplot()
    if not pairs:
        return
    columns = 2 if len(pairs) == 4 else min(len(pairs), MANY)  # no panel alone in a row
    with plt.rc_context(STYLE):
        figure, axes = panels(plt, len(pairs), columns, height=5.6)
        for axis, (alignment, fidelity) in zip(axes, pairs, strict=True):
            _pareto_panel(axis, curves, controls, alignment, fidelity, across)
        figure.suptitle(heading, fontsize=12)
        save(figure, path)


def _pareto_panel(
    axis: Any, curves: Sequence[Line], controls: Controls, alignment: str, fidelity: str, across: str
) -> None:
    points = []
    for curve in curves:
        cells = [cell for cell in curve.cells if {alignment, fidelity} <= cell.metrics.keys()]
        places = [(cell.metrics[alignment], cell.metrics[fidelity]) for cell in cells]
        style = {"color": curve.colour, "linestyle": curve.style, "marker": "o", "markersize": 5, "linewidth": 1.6}
        axis.plot(*zip(*places, strict=True), **style, label=curve.label, zorder=3)
        for cell, (x, y) in zip(cells, places, strict=True):
            draw_intervals(axis, cell, x, y, alignment, fidelity, curve.colour)
        points += [(cell.cell.guidance_weight, place, curve.colour) for cell, place in zip(cells, places, strict=True)]
    _grey_dominated(axis, [place for _, place, _ in points])
    _draw_controls(axis, controls, alignment, fidelity, across)
    axis.set_xlabel(f"{alignment}  (higher is better)")
    axis.set_ylabel(f"{fidelity}  (lower is better)")
    axis.margins(0.1)
    axis.set_ylim(bottom=max(axis.get_ylim()[0], 0))
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    label_weights(axis, points)


def _draw_controls(axis: Any, controls: Controls, alignment: str, fidelity: str, across: str) -> None:
    truth = controls.get(GROUND_TRUTH, {})
    if fidelity in truth:
        axis.axhline(truth[fidelity], color=CONTROL, linestyle="--", linewidth=1, label="real against real (floor)")
    if alignment in truth:
        axis.axvline(truth[alignment], color=CONTROL, linestyle=":", linewidth=1.4, label="real pictures (ceiling)")
    for name, numbers in controls.items():
        if name != GROUND_TRUTH:  # as numbers, because lines would squeeze the curves into a corner
            parts = [f"{across} {numbers[alignment]:.3f}"] if alignment in numbers else []
            parts += [f"distance {numbers[fidelity]:.3g}"] if fidelity in numbers else []
            note_in_legend(axis, f"{name}: {', '.join(parts) or 'none'}")


def dominated(places: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (alignment, distance): whether another point is at least as good in both and better in one."""
    return [any(u >= x and v <= y and (u, v) != (x, y) for u, v in places) for x, y in places]


def _grey_dominated(axis: Any, places: Sequence[tuple[float, float]]) -> None:
    grey = [place for place, worse in zip(places, dominated(places), strict=True) if worse]
    if grey:
        axis.scatter(*zip(*grey, strict=True), s=18, color=DOMINATED, zorder=4, label="dominated by another point")


LABEL_PLACES = ((-6, 4, "right"), (6, -9, "left"), (6, 4, "left"), (-6, -9, "right"))
"""Places for a weight beside its point: offset in typographic points, and alignment."""


def label_weights(axis: Any, points: list[tuple[float, tuple[float, float], str]]) -> None:
    """Write each weight beside its point, in the first free one of `LABEL_PLACES`; omit it if none is free."""
    axis.figure.canvas.draw()  # positions are known only after drawing
    taken = [axis.transData.transform(place) for _, place, _ in points]
    for weight, place, colour in points:
        x, y = axis.transData.transform(place)
        for right, up, align in LABEL_PLACES:
            centre = (x + 3 * right, y + 2 * up)
            if all(abs(centre[0] - u) > 14 or abs(centre[1] - v) > 12 for u, v in taken):
                taken.append(centre)
                axis.annotate(
                    f"{weight:g}", place, (right, up), textcoords="offset points", color=colour, fontsize=8.5, ha=align
                )
                break
