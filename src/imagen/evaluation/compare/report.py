"""compare.md and compare.html: both models' curves in one plot, paired differences, and pictures side by side."""

from collections.abc import Sequence
from pathlib import Path

from imagen.evaluation.compare.findings import bests_table, comparison_findings
from imagen.evaluation.compare.sides import SharedCell, Side, shared_cells
from imagen.evaluation.judges.metric import pareto_pairs
from imagen.evaluation.report.page.document import document
from imagen.evaluation.report.page.explorer import Scene, Shown, frame, scene_data
from imagen.evaluation.report.page.pieces import fold, found, header, heading, picture, prose, table
from imagen.evaluation.report.pareto_plot import Line, plot_curves
from imagen.evaluation.report.report import markdown_table
from imagen.evaluation.report.tables import Rows, change_text, with_interval
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.sweep.plan import file_label, middle_and_ends
from imagen.files import write_text
from imagen.pictures import labelled_grid, save_png

COLOURS = ("#0b6bcb", "#d9480f")
LINES = ("-", "--", ":", "-.")


def comparison_files(one: Side, other: Side) -> list[str]:
    """The names of the files that `write_comparison` writes.

    Raises UserError if the two cannot be compared.
    """
    labels = dict.fromkeys(cell.cell.curve for cell in shared_cells(one, other))
    return ["compare.png", *(f"compare-{file_label(label)}.png" for label in labels), "compare.md", "compare.html"]


def write_comparison(one: Side, other: Side, out: Path) -> None:
    """Write compare.md, compare.html (one file with its pictures inside), the plot and the grids to the folder `out`.

    Raises UserError if the two cannot be compared.
    """
    shared = shared_cells(one, other)
    out.mkdir(parents=True, exist_ok=True)
    heading = f"{one.name} and {other.name}"
    axes = pareto_pairs(metric for key, metric in one.metrics.items() if key in shared[0].metrics)
    lines = [line for _, _, line in _lines(one, other)]
    plot_curves(lines, one.results["controls"], axes, heading, out / "compare.png")
    labels = list(dict.fromkeys(cell.cell.curve for cell in shared))
    for label in labels:
        _write_grid(one, other, _of(shared, label), out / f"compare-{file_label(label)}.png")
    write_text(as_markdown(one, other, shared), out / "compare.md")
    write_text(as_html(one, other, shared, out), out / "compare.html")


def as_markdown(one: Side, other: Side, shared: Sequence[SharedCell]) -> str:
    """A line for each metric of each common cell: both values, their intervals, the paired difference."""
    lines = [f"# {one.name} and {other.name}", "", *explanation(one, other), ""]
    lines += [line for sentence in comparison_findings(one, other, shared) for line in (sentence, "")]
    lines += [*markdown_table(bests_table(one, other, shared)), "", "![both](compare.png)", ""]
    lines += markdown_table(value_table(one, other, shared))
    return "\n".join([*lines, ""])


def as_html(one: Side, other: Side, shared: Sequence[SharedCell], folder: Path) -> str:
    """The comparison as one page, with the PNG files of `folder` inside."""
    title = f"{one.name} and {other.name}"
    data = scene_data(_scene(one, other, shared))
    still = picture(folder / "compare.png", "Pareto plot")
    parts = [
        header(title),
        prose(explanation(one, other)),
        found(comparison_findings(one, other, shared)),
        frame(still) if data is not None else still,
        heading("Each one's best"),
        table(bests_table(one, other, shared)),
    ]
    for label in dict.fromkeys(cell.cell.curve for cell in shared):
        parts += _curve(one, other, _of(shared, label), folder / f"compare-{file_label(label)}.png")
    return document(title, parts, data)


def _curve(one: Side, other: Side, chosen: Sequence[SharedCell], grid: Path) -> list[str]:
    return [
        heading(f"{chosen[0].cell.curve}: B minus A"),
        fold("Differences of every number", table(difference_table(chosen))),
        fold("Pictures of both", picture(grid, "prompts down, A and B at a few weights across")),
        fold("All values of both", table(value_table(one, other, chosen))),
    ]


def _scene(one: Side, other: Side, shared: Sequence[SharedCell]) -> Scene:
    metrics = {**one.metrics, **other.metrics}
    return Scene(
        [Shown(line, side.archive.pictures, letter) for letter, side, line in _lines(one, other)],
        metrics,
        pareto_pairs(metric for key, metric in metrics.items() if key in shared[0].metrics),
        one.results["controls"],
        one.archive.texts,
        one.archive.pictures.get(GROUND_TRUTH),
        str(one.results.get("weight_of", "base stage")),
        {cell.cell: {name: _difference(cell, name) for name in cell.metrics} for cell in shared},
    )


def explanation(one: Side, other: Side) -> list[str]:
    """Which evaluation is A and which is B, and how differences are computed."""
    facts = one.results
    return [
        f"A is {one.name}, B is {other.name}: {facts['pictures_per_cell']} pictures of {facts['resolution']} × "
        f"{facts['resolution']} for each point, the same prompts and noise. Differences are B minus A, paired picture "
        "by picture, with 95 % intervals of sampling only; bold where zero is excluded.",
    ]


def difference_table(shared: Sequence[SharedCell]) -> Rows:
    """Metrics down, weights across."""
    rows = [["", *(f"w = {cell.cell.guidance_weight:g}" for cell in shared)]]
    for metric in dict.fromkeys(name for cell in shared for name in cell.metrics):
        rows.append([metric, *(_difference(cell, metric) for cell in shared)])
    return rows


def value_table(one: Side, other: Side, shared: Sequence[SharedCell]) -> Rows:
    """A row for each metric of each cell."""
    rows = [["curve", "w", "number", one.name, other.name, "difference"]]
    for cell in shared:
        for metric in cell.metrics:
            values = [with_interval(side.metrics, side.intervals, metric) for side in (cell.one, cell.other)]
            weight = f"{cell.cell.guidance_weight:g}"
            rows.append([cell.cell.curve, weight, metric, *values, _difference(cell, metric)])
    return rows


def _difference(cell: SharedCell, metric: str) -> str:
    change = cell.differences.get(metric)
    if isinstance(change, Interval):
        return change_text(change)
    return f"{cell.other.metrics[metric] - cell.one.metrics[metric]:+.3g}" if metric in cell.metrics else ""


def _of(shared: Sequence[SharedCell], label: str) -> list[SharedCell]:
    return [cell for cell in shared if cell.cell.curve == label]


def _lines(one: Side, other: Side) -> list[tuple[str, Side, Line]]:
    """A colour for each model and a line style for each curve; all cells, also those that only one model has."""
    lines = []
    for letter, side, colour in zip("AB", (one, other), COLOURS, strict=True):
        by_label: dict[str, list[CellResult]] = {}
        for cell, result in side.cells.items():
            by_label.setdefault(cell.curve, []).append(result)
        for number, (label, cells) in enumerate(by_label.items()):
            ordered = sorted(cells, key=lambda result: result.cell.guidance_weight)
            line = Line(f"{letter}: {side.name}, {label}", colour, ordered, LINES[number % len(LINES)])
            lines.append((letter, side, line))
    return lines


def _write_grid(one: Side, other: Side, shared: Sequence[SharedCell], path: Path) -> None:
    """Prompts down; the real picture if there is one, then A and B at the lowest, middle and highest weight."""
    chosen = middle_and_ends([cell.cell.guidance_weight for cell in shared])
    columns = []
    if GROUND_TRUTH in one.archive.pictures:
        columns.append(("real", one.archive.pictures[GROUND_TRUTH]))
    for weight in chosen:
        name = next(cell.cell.name for cell in shared if cell.cell.guidance_weight == weight)
        for letter, side in (("A", one), ("B", other)):
            columns.append((f"{letter}, w = {weight:g}", side.archive.pictures[name]))
    count = min(len(pictures) for _, pictures in columns)
    if count:
        rows = [[pictures[row].numpy() for _, pictures in columns] for row in range(count)]
        grid = labelled_grid(rows, one.archive.texts[:count], [name for name, _ in columns])
        save_png(grid, path, {"A": one.name, "B": other.name})
