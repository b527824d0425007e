"""A sweep in TensorBoard. The weight is the step, so charts show curves and the image slider changes the guidance."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagen.evaluation.judges.metric import CHECKED_ALL, FITTING, FRECHET
from imagen.evaluation.report.cost.numbers import cost_scalars
from imagen.evaluation.report.plot_style import around
from imagen.evaluation.results.results import GROUND_TRUTH, CellResult, Results
from imagen.evaluation.sweep.plan import file_label

LARGEST_STEP = 1 << 53
"""TensorBoard's pages hold steps as floats with 53 bits."""


def write_tensorboard(results: Results, folder: Path) -> None:
    """Write each curve as a run: scalars and pictures at the steps of `steps_of`, and CUSTOM SCALARS with intervals.
    Each cell is also a run under HPARAMS, whose scatter matrix is an interactive Pareto plot, with alignment and
    distance first and what a picture costs last. Replaces an earlier log in `folder`."""
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    steps = steps_of(results.weights)
    for number, label in enumerate(results.curves):
        with SummaryWriter(folder / label) as writer:
            if number == 0:  # one layout serves all runs
                writer.add_custom_scalars(_margin_charts(results))
                writer.add_text("step", "\n".join(f"{step}: guidance weight {w!r}" for w, step in steps.items()))
            for result in results.curve(label):
                _write_cell(writer, result, results, steps[result.cell.guidance_weight])
            if GROUND_TRUTH in results.controls:
                note = "\n".join(f"{name}: {value:.5g}" for name, value in results.controls[GROUND_TRUTH].items())
                writer.add_text("real pictures", note)
    for result in results.cells:
        settings = {"guidance_weight": result.cell.guidance_weight, "curve": result.cell.curve}
        metrics = {_tag(name): result.metrics[name] for name in _pareto_first(results) if name in result.metrics}
        metrics |= cost_scalars(result.cost)
        with SummaryWriter(folder / run_name(result)) as writer:
            writer.add_hparams(settings, metrics, run_name=".", global_step=steps[result.cell.guidance_weight])


def run_name(result: CellResult) -> str:
    """The name of a cell's hparams run. The weight comes first, because TensorBoard's table shows a dozen letters."""
    return f"w{result.cell.guidance_weight!r} {file_label(result.cell.curve)}"


def steps_of(weights: Sequence[float]) -> dict[float, int]:
    """A step for each guidance weight, in the same order. Steps are whole numbers: hundredths of the weight, or finer
    units (to millionths) if hundredths do not separate the weights. If even those do not, or the steps are too large
    for TensorBoard: 0, 1, 2, … by ascending weight."""
    for unit in (100, 1000, 10_000, 100_000, 1_000_000):
        if max(weights) < LARGEST_STEP / unit:
            steps = {weight: round(unit * weight) for weight in weights}
            if len(set(steps.values())) == len(steps):
                return steps
    return {weight: step for step, weight in enumerate(sorted(weights))}


def _write_cell(writer: Any, result: CellResult, results: Results, step: int) -> None:
    for name, value in result.metrics.items():
        writer.add_scalar(_tag(name), value, step)
        if name in result.intervals:
            for tag, limit in zip(_limit_tags(name), around(value, result.intervals[name]), strict=True):
                writer.add_scalar(tag, limit, step)
    for tag, value in cost_scalars(result.cost).items():
        writer.add_scalar(tag, value, step)
    for row, picture in enumerate(results.pictures[result.cell.name]):
        writer.add_image(f"pictures/{results.texts[row]}", picture, step, dataformats="HWC")


def _margin_charts(results: Results) -> dict[str, dict[str, list[Any]]]:
    """Category -> chart -> a margin of TensorBoard's custom scalars: a value with its lower and upper limit."""
    with_interval = dict.fromkeys(name for result in results.cells for name in result.intervals)
    layout: dict[str, dict[str, list[Any]]] = {}
    for name in [name for name in results.metric_names if name in with_interval]:
        low, high = _limit_tags(name)
        layout.setdefault(_tag(name).split("/")[0], {})[name] = ["Margin", [_tag(name), low, high]]
    return layout


def _pareto_first(results: Results) -> Sequence[str]:
    """All metrics, with those of the Pareto plots first, because TensorBoard ticks the first five."""
    first = [name for axis in (*FITTING, FRECHET) for name, metric in results.metrics.items() if metric.axis == axis]
    return [*first, CHECKED_ALL, *(n for n in results.metric_names if n not in (*first, CHECKED_ALL))]


def _limit_tags(metric: str) -> tuple[str, str]:
    return f"interval/{_tag(metric)}/low", f"interval/{_tag(metric)}/high"


def _tag(metric: str) -> str:
    """`checker[colours]` becomes `checker/colours`: TensorBoard groups by the part before the slash."""
    return metric.replace("[", "/").removesuffix("]").replace(":", "-")
