"""The section "Nearest training pictures" of a report: what is counted, the table, the plot and the pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from imagen.evaluation.report.plot_style import COLOURS, CONTROL, STYLE, pyplot, save
from imagen.evaluation.report.tables import Rows
from imagen.evaluation.results.copies import FALSE_ALARMS, FEWEST_REAL, SHOWN, Copies
from imagen.evaluation.results.matches import Match
from imagen.evaluation.results.results import CellResult, Results
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.statistics.nearest import NEXT
from imagen.evaluation.sweep.plan import Cell, file_label
from imagen.evaluation.sweep.thumbnails import SIDE
from imagen.pictures import labelled_grid, save_png

HEADING = "Nearest training pictures"
PLOT = "nearest.png"
ALIKE = "nearest-alike.png"
CELL = 104
LINES = tuple(COLOURS.values())


def copies_lines(copies: Copies) -> list[str]:
    """What the numbers are, in sentences."""
    real, repeated = len(copies.real), int(copies.repeated.sum())
    lines = [
        f"Every picture was compared with the {copies.different_pictures} different ones among "
        f"{copies.training_pictures} training pictures, as {SIDE} × {SIDE} pixels. Distance: root mean square "
        "difference, 0 to 1. Ratio: distance to the nearest training picture divided by the mean distance to the next "
        f"{NEXT}; a copy is near one picture alone. Pictures that were mirrored or moved are not found.",
        f"Real pictures that were not trained on: {real} of the reference, of which {repeated} are equal to a training "
        "picture and left out.",
    ]
    if copies.threshold is None:
        lines.append(f"No picture is called a copy, because fewer than {FEWEST_REAL} real pictures are left.")
    else:
        lines.append(
            f"A copy has a ratio below {copies.threshold:.3f}, as about {FALSE_ALARMS:.0%} of those real pictures do: "
            "the first line of the table has their share with its interval. Badly drawn pictures have ratios near 1, "
            "copied or not: then only the last column tells."
        )
    lines += [
        "- distance, ratio: medians",
        "- other caption: copies of a training picture that is not called what the prompt says, as a share of all",
        "- own caption: of the prompts that are captions of a training picture, the share of pictures whose nearest "
        "training picture has it",
        "- unseen nearer: of the prompts that are captions of those real pictures, the share of pictures nearer to the "
        "real one, which nobody trained on, than to any training picture: composed",
    ]
    if copies.missing:
        lines.append(
            f"Not compared: {len(copies.missing)} of the cells. An earlier version sampled them and kept too little of "
            "the pictures; another name=... samples them again."
        )
    return lines


def copies_table(results: Results, copies: Copies) -> Rows:
    """One row for the real pictures and one for each cell."""
    rows = [["", "pictures", "distance", "ratio", "copies", "other caption", "own caption", "unseen nearer"]]
    if len(copies.new):
        medians = [f"{np.median(values):.4f}" for values in (copies.new.nearest, copies.new.ratios)]
        alarms = _rate(copies.false_alarms, None)
        rows.append(["real, not trained on", str(len(copies.new)), *medians, alarms, "", "", ""])
    for result in results.cells:
        name = result.cell.name
        if numbers := copies.numbers.get(name):
            rows.append(
                [
                    cell_label(result.cell, results),
                    str(numbers.pictures),
                    f"{numbers.distance:.4f}",
                    f"{np.median(copies.neighbours[name].ratios):.4f}",
                    _rate(numbers.copies, None),
                    _rate(numbers.copies_of_others, None),
                    _rate(numbers.own_caption, numbers.own_caption_of),
                    _rate(numbers.unseen, numbers.unseen_of),
                ]
            )
    return rows


def write_copies(results: Results, out: Path) -> list[tuple[str, str]]:
    """Write the plot and the pictures to `out`, and give their file names with descriptions; none without training
    pictures. Removes those of an earlier run."""
    for old in out.glob("nearest*.png"):
        old.unlink()
    copies = results.copies
    if copies is None or not copies.numbers:
        return []
    _plot(results, copies, out / PLOT)
    files = [(PLOT, "Ratios and distances of generated and of real pictures")]
    for label in results.curves:
        cells = [copies.shown[result.cell.name] for result in _shown(results, label, copies)]
        matches = [match for of_prompt in zip(*cells, strict=True) for match in of_prompt]
        if matches:
            name = f"nearest-{file_label(label)}.png"
            _write_grid(results, matches, out / name)
            files.append((name, f"The grid's prompts and their nearest training pictures, {label}"))
    if copies.alike:
        _write_grid(results, copies.alike, out / ALIKE)
        files.append((ALIKE, "Of all pictures, those most like a training picture"))
    return files


def copies_json(copies: Copies, results: Results) -> dict[str, Any]:
    """The part of results.json."""
    return {
        "training_pictures": copies.training_pictures,
        "different_training_pictures": copies.different_pictures,
        "thumbnail_side": SIDE,
        "real_pictures": len(copies.real),
        "real_pictures_equal_to_a_training_picture": int(copies.repeated.sum()),
        "copy_is_a_ratio_below": copies.threshold,
        "real_pictures_median_distance": float(np.median(copies.new.nearest)) if len(copies.new) else None,
        "cells": [
            {
                "curve": result.cell.curve,
                "guidance_weight": result.cell.guidance_weight,
                **asdict(copies.numbers[result.cell.name]),
            }
            for result in results.cells
            if result.cell.name in copies.numbers
        ],
    }


def cell_label(cell: Cell, results: Results) -> str:
    """The weight, and the curve if there are several."""
    curve = f"{cell.curve}, " if len(results.curves) > 1 else ""
    return f"{curve}w = {cell.guidance_weight:g}"


def _rate(rate: Interval | None, count: int | None) -> str:
    if rate is None:
        return ""
    of = "" if count is None else f" of {count}"
    return f"{rate.estimate:.3f} [{rate.low:.3f}, {rate.high:.3f}]{of}"


def _shown(results: Results, label: str, copies: Copies) -> list[CellResult]:
    return [result for result in results.curve(label) if result.cell.name in copies.shown]


def _write_grid(results: Results, matches: Sequence[Match], path: Path) -> None:
    """One row for each match: the generated picture, the unseen real one if any match has one, training pictures."""
    cells = {result.cell.name: result.cell for result in results.cells}
    with_real = any(match.unseen is not None for match in matches)
    rows, notes = [], []
    for match in matches:
        blank = np.full_like(match.picture, 255)
        real = [blank if match.unseen is None else match.unseen] if with_real else []
        rows.append([match.picture, *real, *(near.picture for near in match.near)])
        verdict = f"ratio {match.ratio:.2f}" + (", a copy" if match.copy else "")
        near = [f"{one.distance:.3f}  {one.captions[0] if one.captions else ''}" for one in match.near]
        notes.append([verdict, *([""] if with_real else []), *near])
    columns = ["generated", *(["real, unseen"] if with_real else []), *(f"nearest {i + 1}" for i in range(SHOWN))]
    labels = [f"{cell_label(cells[match.cell], results)}: {match.text}" for match in matches]
    grid = labelled_grid(rows, labels, columns, CELL, notes)
    save_png(grid, path, {"fingerprint": results.facts["fingerprint"]})


def _plot(results: Results, copies: Copies, path: Path) -> None:
    """One row for each curve: cumulative shares of ratios and of distances, generated against real."""
    plt = pyplot()
    labels = [label for label in results.curves if _shown(results, label, copies)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(labels), 2, figsize=(9.8, 3.6 * len(labels)), squeeze=False, layout="constrained"
        )
        for (left, right), label in zip(axes, labels, strict=True):
            _histograms(left, results, label, copies, "ratios", "distance to the nearest / to the next three")
            if copies.threshold is not None:
                left.axvline(copies.threshold, color=CONTROL, linestyle="--", linewidth=1)
                where = ("data", "axes fraction")
                left.annotate("copies", (copies.threshold, 1), (-4, -2), where, "offset points", ha="right", va="top")
            _histograms(right, results, label, copies, "nearest", "distance to the nearest training picture")
            left.set_title(f"{label}: ratio")
            right.set_title(f"{label}: distance")
        save(figure, path)


def _histograms(axis: Any, results: Results, label: str, copies: Copies, what: str, name: str) -> None:
    shown = _shown(results, label, copies)
    values = [getattr(copies.neighbours[cell.cell.name], what) for cell in shown]
    real = getattr(copies.new, what)
    top = 1.0 if what == "ratios" else max(float(part.max()) for part in (*values, real) if len(part))
    bins = np.linspace(0, top or 1.0, 31)
    if len(real):
        weights = np.full(len(real), 1 / len(real))
        axis.hist(real, bins, weights=weights, color=CONTROL, alpha=0.3, label="real, not trained on")
    for cell, part, colour in zip(shown, values, LINES, strict=False):
        weights = np.full(len(part), 1 / len(part))
        axis.hist(part, bins, weights=weights, histtype="step", color=colour, linewidth=1.6,
                  label=f"w = {cell.cell.guidance_weight:g}")  # fmt: skip
    axis.set_xlabel(name)
    axis.set_ylabel("share of pictures")
    axis.margins(y=0.3)  # for the legend
    axis.legend()
