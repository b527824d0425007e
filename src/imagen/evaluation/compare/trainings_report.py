"""trainings.md, trainings.json and two plots: curves at equal alignment, and point by point, over several trainings."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from imagen.evaluation.compare.sides import Side
from imagen.evaluation.compare.trainings import AcrossTrainings, across_trainings
from imagen.evaluation.compare.trainings_plots import plot_differences, plot_points
from imagen.evaluation.compare.trainings_points import Point, point_table, points_of
from imagen.evaluation.report.report import markdown_table
from imagen.evaluation.report.tables import Rows, change_text
from imagen.evaluation.sweep.plan import TAUGHT
from imagen.files import write_json, write_text

POINTS_ARE = (
    "The mean of each number over the trainings, with Student's 95 % interval over them. Below it the difference from "
    "the first curve at the same weight, training by training, in bold where its interval excludes zero."
)

FILES = ["trainings.md", "trainings.json", "trainings.png", "points.png"]


def write_trainings(sides: Sequence[Side], out: Path) -> None:
    """Write the files to the folder `out`.

    Raises UserError if the trainings cannot be compared.
    """
    compared, points = across_trainings(sides), points_of(sides)
    out.mkdir(parents=True, exist_ok=True)
    names = [side.name for side in sides]
    content = {"trainings": names, "compared": list(map(asdict, compared)), "points": list(map(asdict, points))}
    write_json(content, out / FILES[1])
    plot_differences(compared, out / FILES[2])
    plot_points(points, out / FILES[3])
    write_text(as_markdown(sides, compared, points), out / FILES[0])


def as_markdown(sides: Sequence[Side], compared: Sequence[AcrossTrainings], points: Sequence[Point]) -> str:
    """For each pair of numbers a table: curves down, weights of the base curve across. Then one for each number at
    equal weights."""
    base = compared[0].base
    names = ", ".join(side.name for side in sides)
    lines = [
        "# Curves at equal alignment, over several trainings",
        "",
        f"{len(sides)} trainings: {names}; {sides[0].results['pictures_per_cell']} pictures for each point, the same "
        f"prompts and noise. Each number is that of the curve minus that of {base}, where the curve has the alignment "
        f"that {base} has at w. The mean over the trainings, and Student's 95 % interval over them, in bold where it "
        "excludes zero; below it the trainings one by one. Many comparisons: of twenty intervals one misses by chance.",
        "",
        f"![differences]({FILES[2]})",
        "",
    ]
    for pair in dict.fromkeys((one.alignment, one.metric) for one in compared):
        lines += [f"## {pair[1]} at equal {pair[0]}", ""]
        lines += [*markdown_table(difference_table(_of(compared, pair))), ""]
    lines += ["# The points, over several trainings", "", POINTS_ARE, "", f"![points]({FILES[3]})", ""]
    for judge in sides[0].results.get("taught_by", []):
        lines += [f"**{TAUGHT.format(judge)}.**", ""]
    for metric in dict.fromkeys(one.metric for one in points):
        lines += [f"## {metric}", "", *markdown_table(point_table([one for one in points if one.metric == metric])), ""]
    return "\n".join(lines)


def difference_table(compared: Sequence[AcrossTrainings]) -> Rows:
    """Two rows for each curve: the mean with its interval, then each training."""
    weights = sorted({one.base_weight for one in compared})
    rows = [[f"minus {compared[0].base} at", *(f"w = {weight:g}" for weight in weights)]]
    for curve in dict.fromkeys(one.curve for one in compared):
        by_weight = {one.base_weight: one for one in compared if one.curve == curve}
        found = [by_weight.get(weight) for weight in weights]
        rows.append([curve, *("" if one is None else _mean(one) for one in found)])
        rows.append(["", *("" if one is None else _each(one) for one in found)])
    return rows


def _mean(one: AcrossTrainings) -> str:
    if one.mean is not None:
        return change_text(one.mean)
    known = sum(each.difference is not None for each in one.each)
    return f"known of {known} of {len(one.each)}"


def _each(one: AcrossTrainings) -> str:
    return ", ".join("–" if each.difference is None else f"{each.difference.estimate:+.2g}" for each in one.each)


def _of(compared: Sequence[AcrossTrainings], pair: tuple[str, str]) -> list[AcrossTrainings]:
    return [one for one in compared if (one.alignment, one.metric) == pair]
