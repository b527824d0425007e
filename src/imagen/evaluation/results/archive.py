"""The kept pictures and jackknives of a finished evaluation, for `compare` and the pages for human raters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imagen.checks.foreign import parse_json
from imagen.errors import UserError
from imagen.evaluation.results.foreign import check_archive
from imagen.evaluation.results.results import Results
from imagen.evaluation.statistics.jackknife import Jackknife
from imagen.evaluation.sweep.blocks import save_atomically
from imagen.files import read_tensors
from imagen.tensors import Pixels

FILE = "kept.safetensors"


@dataclass(frozen=True)
class Archive:
    """The first pictures of every cell and control, and the jackknives for paired differences.

    `texts` and `categories` (None if the prompt has none): one for each kept picture. `cells`: the names of the cells,
    in the order of results.json. `pictures`: by the name of the cell or control. `jackknives`: by cell, then by metric.
    `fingerprint`: of the evaluation, as in results.json.
    """

    texts: Sequence[str]
    categories: Sequence[str | None]
    cells: Sequence[str]
    pictures: Mapping[str, Pixels]
    jackknives: Mapping[str, Mapping[str, Jackknife]]
    fingerprint: str = ""  # empty in archives of an earlier version


def write_archive(results: Results, folder: Path) -> None:
    """Write the archive of `results`. Equal results give equal files. Only texts of kept pictures are stored."""
    count = max((len(pictures) for pictures in results.pictures.values()), default=0)
    header = {
        "fingerprint": results.facts["fingerprint"],
        "texts": list(results.texts[:count]),
        "categories": list(results.categories[:count]),
        "cells": [result.cell.name for result in results.cells],
        "jackknives": {
            result.cell.name: {
                metric: [jackknife.value, *jackknife.without.tolist()]
                for metric, jackknife in result.jackknives.items()
            }
            for result in results.cells
        },
        "group_sizes": {
            result.cell.name: {metric: jackknife.sizes.tolist() for metric, jackknife in result.jackknives.items()}
            for result in results.cells
        },
    }
    pictures = {name: kept.contiguous() for name, kept in results.pictures.items()}
    save_atomically(pictures, {"archive": json.dumps(header, sort_keys=True)}, folder / FILE)


def read_archive(folder: Path) -> Archive:
    """The archive in `folder`. Raises UserError if it is damaged, or the evaluation missing or not finished."""
    from safetensors import SafetensorError

    path = folder / FILE
    try:
        metadata, pictures = read_tensors(path)
        header = parse_json(metadata["archive"], str(path), "finish that evaluation with evaluate.py first")
        check_archive(header, pictures, str(path))
        jackknives = {
            cell: {
                metric: _jackknife(numbers, header.get("group_sizes", {}).get(cell, {}).get(metric))
                for metric, numbers in metrics.items()
            }
            for cell, metrics in header["jackknives"].items()
        }
        fingerprint = header.get("fingerprint", "")
        return Archive(header["texts"], header["categories"], header["cells"], pictures, jackknives, fingerprint)
    except (OSError, SafetensorError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); finish that evaluation with evaluate.py first"
        ) from error


def _jackknife(numbers: list[float], sizes: list[float] | None) -> Jackknife:
    """Archives of earlier versions have no sizes: their groups count as equal, as they did then."""
    value, *without = numbers
    sizes = [1.0] * len(without) if sizes is None else sizes
    if len(sizes) != len(without) or not all(size > 0 for size in sizes):
        raise KeyError(f"{len(sizes)} group sizes for {len(without)} numbers")
    return Jackknife(float(value), torch.tensor(without, dtype=torch.float64), torch.tensor(sizes, dtype=torch.float64))
