"""The interactive plot of a page: its frame as HTML, and its data."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from imagen.evaluation.judges.metric import CHECKED_ALL, FITTING, FRECHET, Metric
from imagen.evaluation.report.cost.numbers import cost_numbers
from imagen.evaluation.report.page.document import own
from imagen.evaluation.report.pareto_plot import Line
from imagen.evaluation.report.plot_style import around
from imagen.evaluation.report.tables import with_interval
from imagen.evaluation.results.cost import PASSES, SECONDS
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult
from imagen.tensors import Pixels

ON_DARK = {
    "#0b6bcb": "#4dabf7",
    "#d9480f": "#ff922b",
    "#6741d9": "#b197fc",
    "#2b8a3e": "#69db7c",
    "#a61e4d": "#f783ac",
    "#846358": "#c9a99c",
    "#1098ad": "#3bc9db",
    "#e67700": "#ffd43b",
    "#4263eb": "#748ffc",
    "#ae3ec9": "#da77f2",
    "#212529": "#f8f9fa",
    "#868e96": "#ced4da",
}
"""The colours of the plots, lighter, for a dark page."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up")
"""Curves differ in these too, for readers who see few colours."""

DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
PIXELATED, LARGEST = 64, 128
"""Pixels per side. Pictures up to the first are kept as they are and shown pixel by pixel; larger ones are reduced to
the second and stored as JPEG."""


@dataclass(frozen=True)
class Shown:
    """A curve of the plot and the kept pictures of its cells, by the cell's name. `letter`: of the model, if there are
    two."""

    line: Line
    pictures: Mapping[str, Pixels]
    letter: str = ""


@dataclass(frozen=True)
class Scene:
    """What the interactive plot shows.

    `pairs`: metrics to choose from as (across, up), beside each metric against the weight. `texts`: the captions of the
    kept pictures. `real`: kept pictures of the prompts that are not generated. `differences`: by cell, what is said of
    each metric where two models have the cell.
    """

    curves: Sequence[Shown]
    metrics: Mapping[str, Metric]
    pairs: Sequence[tuple[str, str]]
    controls: Mapping[str, Mapping[str, float]]
    texts: Sequence[str]
    real: Pixels | None = None
    weight_of: str = "base stage"
    differences: Mapping[Any, Mapping[str, str]] = field(default_factory=dict)


def frame(static: str = "") -> str:
    """The place of the interactive plot, and beneath it HTML that is shown where scripts do not run."""
    return f'{own("explorer.html")}<div id="static">{static}</div>'


def scene_data(scene: Scene) -> dict[str, Any] | None:
    """The data of the plot, plain values; None if there is no number to plot."""
    keys = [key for key in scene.metrics if any(key in cell.metrics for one in scene.curves for cell in one.line.cells)]
    if not keys:
        return None
    album = Album()
    truth = scene.controls.get(GROUND_TRUTH, {})
    curves = [_curve(number, one, scene, keys, album) for number, one in enumerate(scene.curves)]
    costs = [cost_numbers(cell.cost) for one in scene.curves for cell in one.line.cells]
    sides = [side for one in scene.curves for kept in one.pictures.values() for side in kept.shape[1:3]]
    return {
        "metrics": {key: {"lower": scene.metrics[key].lower_is_better} for key in keys},
        "pairs": [list(pair) for pair in dict.fromkeys(scene.pairs) if set(pair) <= set(keys)],
        "costs": [key for key in (SECONDS.name, PASSES.name) if any(key in cost for cost in costs)],
        "first": [key for key in keys if _is_headline(scene.metrics[key])],
        "weight_of": scene.weight_of,
        "curves": curves,
        "real": {key: truth[key] for key in keys if key in truth},
        "texts": list(scene.texts),
        "real_pictures": album.add(scene.real) if scene.real is not None else [],
        "pixelated": max(sides, default=0) <= PIXELATED,
        "images": album.images,
    }


def _is_headline(metric: Metric) -> bool:
    return metric.axis in (*FITTING, FRECHET) or metric.key == CHECKED_ALL


def _curve(number: int, one: Shown, scene: Scene, keys: Sequence[str], album: "Album") -> dict[str, Any]:
    line = one.line
    return {
        "label": line.label,
        "letter": one.letter,
        "name": next((cell.cell.curve for cell in line.cells), line.label),
        "colour": [line.colour, ON_DARK.get(line.colour, line.colour)],
        "symbol": SYMBOLS[number % len(SYMBOLS)],
        "dash": DASHES.get(line.style, "solid"),
        "points": [_point(cell, one, scene, keys, album) for cell in line.cells],
    }


def _point(cell: CellResult, one: Shown, scene: Scene, keys: Sequence[str], album: "Album") -> dict[str, Any]:
    known, cost = [key for key in keys if key in cell.metrics], cost_numbers(cell.cost)
    kept = one.pictures.get(cell.cell.name)
    return {
        "weight": cell.cell.guidance_weight,
        "count": cell.count,
        "numbers": {key: _place(cell, key) for key in known} | {key: [value] for key, value in cost.items()},
        "texts": {key: with_interval(cell.metrics, cell.intervals, key) for key in known}
        | {key: f"{value:.3g}" for key, value in cost.items()},
        "difference": dict(scene.differences.get(cell.cell, {})),
        "pictures": album.add(kept) if kept is not None else [],
    }


def _place(cell: CellResult, key: str) -> list[float]:
    """The number, and the ends of its interval around it if it has one, as in the other plots."""
    value = cell.metrics[key]
    return [value, *around(value, cell.intervals[key])] if key in cell.intervals else [value]


class Album:
    """Pictures as data URIs, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    @property
    def images(self) -> list[str]:
        return list(self._places)

    def add(self, pictures: Pixels) -> list[int]:
        """The numbers of the pictures in `images`."""
        return [self._places.setdefault(_as_uri(one), len(self._places)) for one in pictures.numpy()]


def _as_uri(picture: np.ndarray) -> str:
    content, image = io.BytesIO(), Image.fromarray(picture)
    kind = "PNG" if max(image.size) <= PIXELATED else "JPEG"
    if kind == "JPEG":
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    image.save(content, format=kind, **({"optimize": True} if kind == "PNG" else {"quality": 88}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
