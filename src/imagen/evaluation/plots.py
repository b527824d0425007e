"""The two plots of a sweep: fidelity against alignment (the paper's Pareto curves), and every metric against the
weight."""

from pathlib import Path
from typing import Any

from imagen.evaluation.features import AlignmentJudge
from imagen.evaluation.jackknife import Interval
from imagen.evaluation.results import GROUND_TRUTH, NOISE, SHUFFLED, CellResult, Results

COLOURS = {"dynamic": "#0b6bcb", "static": "#d9480f", "none": "#6741d9"}
OTHER_COLOURS = ("#2b8a3e", "#a61e4d", "#846358", "#087f5b")
CATEGORY_COLOURS = ("#0b6bcb", "#d9480f", "#2b8a3e", "#6741d9", "#a61e4d", "#846358", "#087f5b", "#5c677d")
CONTROL = "#5c677d"
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "svg.hashsalt": "imagen",
}


def plot_pareto(results: Results, path: Path) -> None:
    """x: alignment, y: Fréchet distance; one panel for each judge that gives both, one curve for each thresholding,
    weights beside the points, controls as dashed lines."""
    plt = _pyplot()
    pairs = _pareto_pairs(results)
    if not pairs:  # nobody measured alignment, or there is one picture
        return
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(pairs), figsize=(6.4 * len(pairs), 5.2), squeeze=False, layout="constrained")
        for axis, (alignment, fidelity) in zip(axes[0], pairs, strict=True):
            _pareto_panel(axis, results, alignment, fidelity)
        figure.suptitle(_title("Fidelity against alignment", results), fontsize=12)
        _save(figure, path)


def plot_metrics(results: Results, path: Path) -> None:
    """Distances, precision, recall, alignments and the checker's accuracy against the weight, and its categories for
    each curve; controls are lines, or a number where a line would flatten the curves."""
    plt = _pyplot()
    single = [name for name in results.metric_names if not name.startswith("checker") or name == "checker[all]"]
    by_category = results.thresholdings if "checker[all]" in single else []
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
        figure.suptitle(_title("Metrics against guidance weight", results), fontsize=12)
        _save(figure, path)


def _pareto_pairs(results: Results) -> list[tuple[str, str]]:
    """(alignment, distance) of each extractor; one that cannot read (Inception) goes with the first that can."""
    readers = [judge.alignment_key for judge in results.judges if isinstance(judge, AlignmentJudge)]
    pairs = [
        (judge.alignment_key if isinstance(judge, AlignmentJudge) else readers[0], judge.fidelity_key)
        for judge in results.judges
        if readers
    ]
    return [pair for pair in pairs if set(pair) <= set(results.metric_names)]


def colour_of(results: Results, label: str) -> str:
    """The same colour for the same thresholding in every picture."""
    unnamed = [name for name in results.thresholdings if name not in COLOURS]
    return COLOURS.get(label) or OTHER_COLOURS[unnamed.index(label) % len(OTHER_COLOURS)]


def _pareto_panel(axis: Any, results: Results, alignment: str, fidelity: str) -> None:
    points = []
    for label in results.thresholdings:
        cells = [cell for cell in results.curve(label) if {alignment, fidelity} <= cell.metrics.keys()]
        places = [(cell.metrics[alignment], cell.metrics[fidelity]) for cell in cells]
        colour = colour_of(results, label)
        axis.plot(*zip(*places, strict=True), "-o", color=colour, markersize=5, linewidth=1.6, label=label, zorder=3)
        for cell, (x, y) in zip(cells, places, strict=True):
            _whiskers(axis, cell, x, y, alignment, fidelity, colour)
        points += [(cell.cell.guidance_weight, place, colour) for cell, place in zip(cells, places, strict=True)]
    truth = results.controls.get(GROUND_TRUTH, {})
    if fidelity in truth:
        axis.axhline(truth[fidelity], color=CONTROL, linestyle="--", linewidth=1, label="real against real (floor)")
    if alignment in truth:
        axis.axvline(truth[alignment], color=CONTROL, linestyle=":", linewidth=1.4, label="real pictures (ceiling)")
    note = [f"{name}: {_pair(results, name, alignment, fidelity)}" for name in results.controls if name != GROUND_TRUTH]
    note = "off the plot\n" + "\n".join(note)
    axis.text(0.98, 0.98, note, transform=axis.transAxes, fontsize=8, color=CONTROL, ha="right", va="top")
    axis.set_xlabel(f"{alignment}  (higher is better)")
    axis.set_ylabel(f"{fidelity}  (lower is better)")
    axis.margins(0.1)
    bottom, top = axis.get_ylim()
    axis.set_ylim(max(bottom, 0), top + 0.12 * (top - bottom))  # room for the note
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    _label_weights(axis, points)


def _whiskers(axis: Any, cell: CellResult, x: float, y: float, across: str | None, up: str, colour: str) -> None:
    """The intervals of a point as thin lines; none where there is no interval.

    The interval of a distance is of its bias-corrected estimate. The line is drawn around the plain number instead, as
    the floor is plain too: at the same number of pictures the two have the same bias.
    """
    if up in cell.intervals:
        axis.vlines(x, *_around(y, cell.intervals[up]), color=colour, linewidth=1, alpha=0.55)
    if across in cell.intervals:
        axis.hlines(y, *_around(x, cell.intervals[across]), color=colour, linewidth=1, alpha=0.55)


def _around(value: float, interval: Interval) -> tuple[float, float]:
    return value + interval.low - interval.estimate, value + interval.high - interval.estimate


LABEL_PLACES = ((-6, 4, "right"), (6, -9, "left"), (6, 4, "left"), (-6, -9, "right"))
"""Where a weight may stand beside its point: offset in points, and alignment."""


def _label_weights(axis: Any, points: list[tuple[float, tuple[float, float], str]]) -> None:
    """Each weight beside its point, in the first of `LABEL_PLACES` that is free; left out where none is."""
    axis.figure.canvas.draw()  # places are known only after that
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


def _metric_panel(axis: Any, results: Results, name: str) -> None:
    for label in results.thresholdings:
        cells = [cell for cell in results.curve(label) if name in cell.metrics]
        weights = [cell.cell.guidance_weight for cell in cells]
        values = [cell.metrics[name] for cell in cells]
        colour = colour_of(results, label)
        axis.plot(weights, values, "-o", color=colour, markersize=4, linewidth=1.6, label=label)
        for cell, weight, value in zip(cells, weights, values, strict=True):
            _whiskers(axis, cell, weight, value, None, name, colour)
    truth = results.controls.get(GROUND_TRUTH, {})
    if name in truth:
        axis.axhline(truth[name], color=CONTROL, linestyle="--", linewidth=1, label="real pictures")
    if name in results.controls.get(SHUFFLED, {}):
        value = results.controls[SHUFFLED][name]
        axis.axhline(value, color=CONTROL, linestyle=":", linewidth=1.4, label="shuffled captions")
    if name in results.controls.get(NOISE, {}):  # as a number: a line would flatten the curves
        note = f"noise: {results.controls[NOISE][name]:.3g}"
        axis.text(0.98, 0.02, note, transform=axis.transAxes, fontsize=8, color=CONTROL, ha="right")
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
        short = name.removeprefix("checker[").removesuffix("]").replace("_", " ")
        axis.plot(weights, [cell.metrics[name] for cell in known], "-o", color=colour, markersize=3, label=short)
    _weight_axis(axis, results)
    axis.set_ylim(-0.03, 1.03)
    axis.set_title(f"checker by category, {label}")
    axis.legend(fontsize=8)


def _weight_axis(axis: Any, results: Results) -> None:
    weights = results.weights
    if weights[0] > 0 and len(weights) > 1:
        axis.set_xscale("log")
    # The labels of close weights would overlap.
    shown = [w for i, w in enumerate(weights) if i == 0 or w in (1, 1.5, 2, 3, 5, 7, 10) or i == len(weights) - 1]
    axis.set_xticks(shown, [f"{weight:g}" for weight in shown])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("guidance weight (1 is none)")


def _pair(results: Results, control: str, alignment: str, fidelity: str) -> str:
    found = results.controls[control]
    parts = [f"alignment {found[alignment]:.3f}"] if alignment in found else []
    parts += [f"distance {found[fidelity]:.3g}"] if fidelity in found else []
    return ", ".join(parts) or "none"


def _title(what: str, results: Results) -> str:
    count, side = results.facts["pictures_per_cell"], results.facts["resolution"]
    return f"{what}: {count} pictures of {side} × {side} for each point"


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    partial = path.with_name(f".{path.name}")
    # No date and no version in the file: equal results are equal pictures.
    figure.savefig(partial, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)
    partial.replace(path)
