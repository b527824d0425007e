"""Common parts of all plots: colours, intervals, titles, and files that are equal for equal results."""

from pathlib import Path
from typing import Any

from imagen.evaluation.results.results import CellResult, Results
from imagen.evaluation.statistics.jackknife import Interval
from imagen.files import replacing

COLOURS = {"dynamic": "#0b6bcb", "static": "#d9480f", "none": "#6741d9"}
OTHER_COLOURS = (
    "#2b8a3e", "#a61e4d", "#846358", "#1098ad", "#e67700", "#4263eb", "#ae3ec9", "#212529", "#868e96",
)  # fmt: skip
CONTROL = "#5c677d"
DOMINATED = "#c3c8cf"
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


def colour_of(results: Results, label: str) -> str:
    """The colour of a curve, the same in every picture."""
    unnamed = [name for name in results.curves if name not in COLOURS]
    return COLOURS.get(label) or OTHER_COLOURS[unnamed.index(label) % len(OTHER_COLOURS)]


def draw_intervals(axis: Any, cell: CellResult, x: float, y: float, across: str | None, up: str, colour: str) -> None:
    """Draw the intervals of a point, if it has any, as thin lines.

    The interval of a distance belongs to its bias-corrected estimate. The line is drawn around the plain number
    instead, because the floor is a plain number too: with equally many pictures both have the same bias.
    """
    if up in cell.intervals:
        axis.vlines(x, *around(y, cell.intervals[up]), color=colour, linewidth=1, alpha=0.55)
    if across is not None and across in cell.intervals:
        axis.hlines(y, *around(x, cell.intervals[across]), color=colour, linewidth=1, alpha=0.55)


def around(value: float, interval: Interval) -> tuple[float, float]:
    """The ends of `interval`, shifted to lie around the plain number."""
    return value + interval.low - interval.estimate, value + interval.high - interval.estimate


def note_in_legend(axis: Any, text: str) -> None:
    """Add a legend entry without a mark, for a control whose line would flatten the curves."""
    axis.plot([], [], " ", label=text)


def panels(plt: Any, count: int, columns: int, height: float) -> tuple[Any, list[Any]]:
    """A figure of `count` panels in rows of `columns`, each `height` inches high, and its axes."""
    rows = -(-count // columns)
    size = (6.4 * columns, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in list(axes.flat)[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat)[:count]


def title(subject: str, results: Results) -> str:
    """A title with `subject`, and the number and size of the pictures of each point."""
    count, side = results.facts["pictures_per_cell"], results.facts["resolution"]
    return f"{subject}: {count} pictures of {side} × {side} for each point"


def pyplot() -> Any:
    """matplotlib.pyplot without a display; imported late, because the import takes a second."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, path: Path) -> None:
    """Write a PNG atomically, and close the figure."""
    import matplotlib.pyplot as plt

    with replacing(path) as stream:
        # No date and no version in the file: equal results are equal pictures.
        figure.savefig(stream, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)
