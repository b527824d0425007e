"""Fidelity against alignment: the paper's Pareto curves."""

from pathlib import Path
from typing import Any

from imagen.evaluation.features import AlignmentJudge
from imagen.evaluation.plot_style import CONTROL, STYLE, colour_of, draw_intervals, pyplot, save, title
from imagen.evaluation.results import GROUND_TRUTH, Results


def plot_pareto(results: Results, path: Path) -> None:
    """x: alignment, y: Fréchet distance; one panel for each judge that gives both, one curve for each thresholding,
    weights beside the points, controls as dashed lines."""
    plt = pyplot()
    pairs = _pareto_pairs(results)
    if not pairs:  # nobody measured alignment, or there is one picture
        return
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(pairs), figsize=(6.4 * len(pairs), 5.2), squeeze=False, layout="constrained")
        for axis, (alignment, fidelity) in zip(axes[0], pairs, strict=True):
            _pareto_panel(axis, results, alignment, fidelity)
        figure.suptitle(title("Fidelity against alignment", results), fontsize=12)
        save(figure, path)


def _pareto_pairs(results: Results) -> list[tuple[str, str]]:
    """(alignment, distance) of each extractor; one that cannot read (Inception) goes with the first that can."""
    readers = [judge.alignment_key for judge in results.judges if isinstance(judge, AlignmentJudge)]
    pairs = [
        (judge.alignment_key if isinstance(judge, AlignmentJudge) else readers[0], judge.fidelity_key)
        for judge in results.judges
        if readers
    ]
    return [pair for pair in pairs if set(pair) <= set(results.metric_names)]


def _pareto_panel(axis: Any, results: Results, alignment: str, fidelity: str) -> None:
    points = []
    for label in results.thresholdings:
        cells = [cell for cell in results.curve(label) if {alignment, fidelity} <= cell.metrics.keys()]
        places = [(cell.metrics[alignment], cell.metrics[fidelity]) for cell in cells]
        colour = colour_of(results, label)
        axis.plot(*zip(*places, strict=True), "-o", color=colour, markersize=5, linewidth=1.6, label=label, zorder=3)
        for cell, (x, y) in zip(cells, places, strict=True):
            draw_intervals(axis, cell, x, y, alignment, fidelity, colour)
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


def _pair(results: Results, control: str, alignment: str, fidelity: str) -> str:
    found = results.controls[control]
    parts = [f"alignment {found[alignment]:.3f}"] if alignment in found else []
    parts += [f"distance {found[fidelity]:.3g}"] if fidelity in found else []
    return ", ".join(parts) or "none"
