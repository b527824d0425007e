"""Checks the content of results.json and kept.safetensors when they are read, since they may come from somebody else.

Their labels and names become files, plots and pages, and their numbers are drawn. All readers of finished evaluations
use these checks: compare, the ablations, the pages for raters.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeGuard

import torch
from torch import Tensor

from imagen.checks.arguments import fits
from imagen.checks.foreign import checked_record
from imagen.errors import UserError
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.sweep.plan import LABEL, Cell, check_labels, check_weights

METRIC = re.compile(r"\w[\w.:+-]*(\[[\w.:+-]+\])?")
"""Keys of numbers, such as `fid`, `fd[shapes-judge-a]`, `align[clip:0f1e2d3c]`."""

LARGEST = 1e300
WAY_OUT = "evaluate again, or leave it out"


def check_results(results: Mapping[str, Any], where: str) -> None:
    """Raise UserError that names the field if a value of results.json is not valid."""
    cells = results.get("cells")
    if not isinstance(cells, list) or not cells:
        _refuse(where, "cells", cells)
    for cell in cells:
        if not isinstance(cell, dict):
            _refuse(where, "cells", cell)
        _check_cell(cell, where)
    labels = list(dict.fromkeys(cell["curve"] for cell in cells))
    check_labels(labels, where)
    for label in labels:
        check_weights([cell["guidance_weight"] for cell in cells if cell["curve"] == label])
    controls = results.get("controls")
    if not isinstance(controls, dict):
        _refuse(where, "controls", controls)
    for name, numbers in controls.items():
        _check_numbers(numbers, f"{where}: controls.{name!r:.60}")
    for name in ("pictures_per_cell", "resolution"):
        if not _is_count(results.get(name)):
            _refuse(where, name, results.get(name))
    _check_curves(results.get("curves", {}), where)


def _check_cell(cell: Mapping[str, Any], where: str) -> None:
    if not isinstance(cell.get("curve"), str):
        _refuse(where, "curve", cell.get("curve"))
    if not _is_number(cell.get("guidance_weight")):
        _refuse(where, "guidance_weight", cell.get("guidance_weight"))
    if not _is_count(cell.get("pictures")):
        _refuse(where, "pictures", cell.get("pictures"))
    _check_numbers(cell.get("metrics"), f"{where}: metrics")
    intervals = cell.get("intervals")
    if not isinstance(intervals, dict) or not intervals.keys() <= cell["metrics"].keys():
        _refuse(where, "intervals", intervals)
    for name, interval in intervals.items():
        checked = checked_record(Interval, interval, f"{where}: intervals.{name}", WAY_OUT)
        if not all(_is_number(value) for value in (checked.estimate, checked.low, checked.high)):
            _refuse(where, f"intervals.{name}", interval)


def _check_numbers(numbers: object, where: str) -> None:
    if not isinstance(numbers, dict):
        _refuse(where, "numbers", numbers)
    for name, value in numbers.items():
        if not METRIC.fullmatch(name) or len(name) > 200:
            _refuse(where, "the name of a number", name)
        if not _is_number(value):
            _refuse(where, name, value)


def _check_curves(curves: object, where: str) -> None:
    """Check the identities of the curves; only their seeds are read."""
    if not isinstance(curves, dict):
        _refuse(where, "curves", curves)
    for curve in curves.values():
        stages = curve.get("stages", []) if isinstance(curve, dict) else None
        if not isinstance(stages, list):
            _refuse(where, "curves", curve)
        for stage in stages:
            if not isinstance(stage, dict) or type(stage.get("seed", 0)) is not int:
                _refuse(where, "curves", stage)


def check_archive(header: object, pictures: Mapping[str, Tensor], where: str) -> None:
    """Raise UserError that names the field if a value of kept.safetensors is not valid."""
    if not isinstance(header, dict):
        _refuse(where, "archive", header)
    texts, categories, cells = (header.get(name) for name in ("texts", "categories", "cells"))
    if not _all(texts, str):
        _refuse(where, "texts", texts)
    if not _all(categories, str | None) or len(categories) != len(texts):
        _refuse(where, "categories", categories)
    if not _all(cells, str) or not all(LABEL.fullmatch(cell) for cell in cells) or len(set(cells)) < len(cells):
        _refuse(where, "cells", cells)
    for name in cells:
        if name not in pictures:
            raise UserError(f"{where}: no pictures of the cell {name!r:.120}; {WAY_OUT}")
    for name, kept in pictures.items():
        if kept.dtype != torch.uint8 or kept.ndim != 4 or kept.shape[3] != 3 or len(kept) > len(texts):
            _refuse(where, f"pictures of {name!r:.60}", f"{kept.dtype} {tuple(kept.shape)}")
    _check_jackknives(header.get("jackknives"), where)
    if not fits(header.get("group_sizes", {}), dict[str, dict[str, list[float]]]):
        _refuse(where, "group_sizes", header["group_sizes"])


def _check_jackknives(jackknives: object, where: str) -> None:
    if not isinstance(jackknives, dict):
        _refuse(where, "jackknives", jackknives)
    for metrics in jackknives.values():
        if not isinstance(metrics, dict):
            _refuse(where, "jackknives", metrics)
        for name, numbers in metrics.items():  # the number over all pictures, and without each group
            sound = METRIC.fullmatch(name) and isinstance(numbers, list) and len(numbers) > 2
            if not sound or not all(_is_number(number) for number in numbers):
                _refuse(where, f"jackknives.{name!r:.60}", numbers)


def check_one_evaluation(results: Mapping[str, Any], cells: Sequence[str], where: str) -> None:
    """Raise UserError unless results and archive have the same cells."""
    named = [Cell(cell["curve"], cell["guidance_weight"]).name for cell in results["cells"]]
    if named != list(cells):
        raise UserError(f"{where}: results.json and the kept pictures have different cells; {WAY_OUT}")


def _all(values: object, kind: Any) -> TypeGuard[list[Any]]:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value <= 1 << 53


def _refuse(where: str, field: str, value: object) -> NoReturn:
    raise UserError(f"{where}: {field} is {value!r:.60}; {WAY_OUT}")
