"""What is kept of a finished evaluation for those who look at it again: `compare`, and the pages for human raters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imagen.errors import UserError
from imagen.evaluation.arrays import Pixels
from imagen.evaluation.blocks import save_atomically
from imagen.evaluation.foreign_results import check_archive
from imagen.evaluation.jackknife import Jackknife
from imagen.evaluation.results import Results

FILE = "kept.safetensors"


@dataclass(frozen=True)
class Archive:
    """The first pictures of every cell and control, and what paired differences are made of.

    `texts` and `categories` (None where the prompt set has none): one for each kept picture. `cells`: the names of the
    cells, in the order of results.json. `pictures`: by the name of the cell or control. `jackknives`: by cell, then by
    metric.
    """

    texts: Sequence[str]
    categories: Sequence[str | None]
    cells: Sequence[str]
    pictures: Mapping[str, Pixels]
    jackknives: Mapping[str, Mapping[str, Jackknife]]


def write_archive(results: Results, folder: Path) -> None:
    """Equal results are equal files. Texts are kept for the kept pictures only."""
    count = max((len(pictures) for pictures in results.pictures.values()), default=0)
    header = {
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
    }
    pictures = {name: kept.contiguous() for name, kept in results.pictures.items()}
    save_atomically(pictures, {"archive": json.dumps(header, sort_keys=True)}, folder / FILE)


def read_archive(folder: Path) -> Archive:
    """Raises UserError when the evaluation in `folder` is not there, not finished or its archive is damaged."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["archive"])
            pictures = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        check_archive(header, pictures, str(path))
        jackknives = {
            cell: {
                metric: Jackknife(float(numbers[0]), torch.tensor(numbers[1:], dtype=torch.float64))
                for metric, numbers in metrics.items()
            }
            for cell, metrics in header["jackknives"].items()
        }
        return Archive(header["texts"], header["categories"], header["cells"], pictures, jackknives)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); finish that evaluation with evaluate.py first"
        ) from error
