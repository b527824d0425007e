"""The plots of several trainings: differences at equal alignment, and every number by guidance weight."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from imagen.evaluation.compare.trainings import AcrossTrainings
from imagen.evaluation.compare.trainings_points import Point
from imagen.evaluation.report.metric_plots import CATEGORY_COLOURS
from imagen.evaluation.report.plot_style import CONTROL, STYLE, panels, pyplot, save

COLUMNS = 3


def plot_differences(compared: Sequence[AcrossTrainings], path: Path) -> None:
    """A panel for each pair of numbers: curves down, the mean and its interval across, a colour for each weight of the
    base curve, a dot for each training."""
    pairs = list(dict.fromkeys((one.alignment, one.metric) for one in compared))
    curves = list(dict.fromkeys(one.curve for one in compared))
    weights = sorted({one.base_weight for one in compared})
    colours = dict(zip(weights, cycle(CATEGORY_COLOURS), strict=False))
    plt = pyplot()
    with plt.rc_context(STYLE):
        size = (4.6 * len(pairs), 1.4 + 0.62 * len(curves))
        figure, axes = plt.subplots(1, len(pairs), figsize=size, squeeze=False, sharey=True, layout="constrained")
        for axis, pair in zip(axes[0], pairs, strict=True):
            _draw_differences(axis, [one for one in compared if (one.alignment, one.metric) == pair], curves, colours)
            axis.set_title(f"{pair[1]}\nat equal {pair[0]}")
        axes[0][0].set_yticks(range(len(curves)), curves)
        axes[0][0].set_ylim(len(curves) - 0.5, -0.5)  # also curves without a known difference
        for weight, colour in colours.items():
            axes[0][0].plot([], [], "o", color=colour, markersize=5, label=f"{weight:g}")
        figure.legend(title=f"w of {compared[0].base}", loc="outside right center")
        save(figure, path)


def _draw_differences(
    axis: Any, compared: Sequence[AcrossTrainings], curves: Sequence[str], colours: Mapping[float, str]
) -> None:
    axis.axvline(0, color=CONTROL, linewidth=1)
    for number, (weight, colour) in enumerate(colours.items()):
        shift = (number - (len(colours) - 1) / 2) * 0.7 / len(colours)
        for one in (one for one in compared if one.base_weight == weight):
            height = curves.index(one.curve) + shift
            dots = [each.difference.estimate for each in one.each if each.difference is not None]
            axis.plot(dots, [height] * len(dots), ".", color=colour, markersize=4, alpha=0.6)
            if one.mean is not None:
                axis.hlines(height, one.mean.low, one.mean.high, color=colour, linewidth=1.6)
                axis.plot(one.mean.estimate, height, "o", color=colour, markersize=5)


def plot_points(points: Sequence[Point], path: Path) -> None:
    """A panel for each number: its mean over the trainings by guidance weight, a line for each curve, a dot for each
    training."""
    metrics = list(dict.fromkeys(one.metric for one in points))
    curves = list(dict.fromkeys(one.curve for one in points))
    colours = dict(zip(curves, cycle(CATEGORY_COLOURS), strict=False))
    plt = pyplot()
    with plt.rc_context(STYLE):
        figure, axes = panels(plt, len(metrics), COLUMNS, height=3.4)
        for axis, metric in zip(axes, metrics, strict=True):
            _draw_points(axis, [one for one in points if one.metric == metric], colours)
            axis.set_title(metric)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=COLUMNS)
        save(figure, path)


def _draw_points(axis: Any, points: Sequence[Point], colours: Mapping[str, str]) -> None:
    weights = sorted({one.weight for one in points})
    for curve, colour in colours.items():
        found = sorted((one for one in points if one.curve == curve), key=lambda one: one.weight)
        axis.plot([one.weight for one in found], [one.mean.estimate for one in found], color=colour, label=curve)
        for one in found:
            axis.plot([one.weight] * len(one.each), one.each, ".", color=colour, markersize=4, alpha=0.6)
    if weights[0] > 0 and len(weights) > 1:
        axis.set_xscale("log")
    axis.set_xticks(weights, [f"{weight:g}" for weight in weights])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("guidance weight")
