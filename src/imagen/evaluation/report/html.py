"""report.html: one file with its pictures inside, which can be mailed and needs no network."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from imagen.evaluation.judges.metric import pareto_pairs
from imagen.evaluation.report.copies import HEADING, copies_lines, copies_table
from imagen.evaluation.report.equal_alignment import EQUAL_ALIGNMENT, equal_alignment_about, equal_alignment_tables
from imagen.evaluation.report.findings import best_weights_table, findings
from imagen.evaluation.report.page.document import document
from imagen.evaluation.report.page.explorer import Scene, Shown, frame, scene_data
from imagen.evaluation.report.page.pieces import fold, found, header, heading, picture, prose, table
from imagen.evaluation.report.pareto_plot import Line, answer_pairs
from imagen.evaluation.report.plot_style import colour_of
from imagen.evaluation.report.strips import strip_files
from imagen.evaluation.report.tables import (
    audit_table,
    best_table,
    category_tables,
    control_table,
    curve_table,
    step_table,
    table_metrics,
)
from imagen.evaluation.results.results import GROUND_TRUTH, Results
from imagen.evaluation.sweep.plan import file_label

STRIPS_ARE = (
    "Each stage's estimates of the picture (x0, guided and thresholded), from noise on the left to the picture on the "
    "right; the same noise for every weight."
)

ANSWERS = "pareto_answers.png"
"""The plot of fidelity against shares of right answers."""

COST = "cost.png"
"""The plot of alignments and distances against what a picture costs."""

AVOIDED = (
    ("One rounding", "all judges and the checker get the same uint8 pictures"),
    ("Common random numbers", "picture i has the same prompt and the same noise in every cell"),
    ("Double precision", "means, covariances and kernels are float64 sums of float32 features"),
    (
        "No percentile bootstrap",
        "distances get a bias-corrected jackknife; Fréchet distances need 4 pictures per feature for it",
    ),
    ("No stale cache", "blocks and references are named by weights, preprocessing, prompts, seeds and samplers"),
    ("Honest names", "fid, kid and clip_score only for weights and preprocessing with the published hash"),
    ("End of text kept", "long captions are cut before the end-of-text token, and their share is reported"),
)
"""Known traps of such evaluations, and how this one avoids them."""


TITLE = "Alignment against fidelity"


def as_html(
    results: Results,
    headline: Sequence[str],
    audit: Sequence[str],
    folder: Path,
    copies: Sequence[tuple[str, str]] = (),
) -> str:
    """The report with the PNG files of `folder` inside; plots that were not drawn are left out. `copies`: the files of
    the nearest training pictures, with descriptions."""
    data = scene_data(_scene(results))
    parts = [
        header(TITLE),
        found(findings(results)),
        *_plots(folder, data is not None),
        prose(headline),
        *_best(results),
        *(part for label in results.curves for part in _curve(results, label, folder)),
        *_equal_alignment(results),
        *_steps(results),
        *_strips(folder),
        *_copies(results, copies, folder),
        *_metric_plots(folder),
        *_controls(results),
        *_audit(results, audit),
        *_facts(results),
    ]
    return document(TITLE, parts, data)


def _scene(results: Results) -> Scene:
    lines = [Line(label, colour_of(results, label), results.curve(label)) for label in results.curves]
    return Scene(
        [Shown(line, results.pictures) for line in lines],
        {name: results.metrics[name] for name in table_metrics(results)},
        [*pareto_pairs(results.metrics.values()), *answer_pairs(results)],
        results.controls,
        results.texts,
        results.pictures.get(GROUND_TRUTH),
        results.facts["weight_of"],
    )


def _plots(folder: Path, interactive: bool) -> list[str]:
    """The interactive plot, and the ones that stand in its place where scripts do not run."""
    still = picture(folder / "pareto.png", "Pareto plot")
    answers = fold("Right answers against fidelity", picture(folder / ANSWERS, "right answers against fidelity"))
    cost = fold("Quality against cost", picture(folder / COST, "distance and alignment against the cost of a picture"))
    return [frame(still) if interactive else still, answers, cost]


def _best(results: Results) -> list[str]:
    weights = table(best_weights_table(results)) if len(results.curves) > 1 else ""
    return [
        fold("Best weight of each curve", weights),
        fold("Best point by every number", table(best_table(results))),
    ]


def _curve(results: Results, label: str, folder: Path) -> list[str]:
    return [
        heading(label),
        fold("Numbers at each weight", table(curve_table(results, label))),
        *(fold(f"{metric} by category", table(rows)) for metric, rows in category_tables(results, label).items()),
        fold(
            "Pictures at each weight, on the same noise",
            picture(folder / f"grid-{file_label(label)}.png", f"prompts down, weights across, {label}"),
        ),
    ]


def _equal_alignment(results: Results) -> list[str]:
    if not results.equal_alignment:
        return []
    about = f"<p>{escape(equal_alignment_about(results))}</p>"
    tables = (fold(rows[0][0], table(rows)) for rows in equal_alignment_tables(results))
    return [heading(EQUAL_ALIGNMENT), about, *tables]


def _steps(results: Results) -> list[str]:
    if not results.steps:
        return []
    said = "<p>Same prompts, same noise; bold where zero is excluded.</p>"
    return [heading("From one weight to the next"), said, fold("All steps", table(step_table(results)))]


def _strips(folder: Path) -> list[str]:
    if not (strips := strip_files(folder)):
        return []
    pictures = [picture(path, "estimates of x0 across, prompts and weights down") for path in strips]
    return [heading("Denoising strips"), f"<p>{STRIPS_ARE}</p>", fold("Strips of each stage", *pictures)]


def _copies(results: Results, files: Sequence[tuple[str, str]], folder: Path) -> list[str]:
    if not results.copies:
        return []
    return [
        heading(HEADING),
        prose(copies_lines(results.copies)),
        table(copies_table(results, results.copies)),
        *(fold(text, picture(folder / name, text)) for name, text in files),
    ]


def _metric_plots(folder: Path) -> list[str]:
    plot = picture(folder / "metrics.png", "metrics")
    return [heading("Metrics against guidance weight"), fold("Plots of all metrics", plot)] if plot else []


def _controls(results: Results) -> list[str]:
    rows = [list(row) for row in zip(*control_table(results), strict=True)]  # numbers down: few columns
    said = "<p>The same numbers of real pictures, of noise, and of pictures beside other captions.</p>"
    return [heading("Controls"), said, fold("Numbers of the controls", table(rows))]


def _audit(results: Results, lines: Sequence[str]) -> list[str]:
    return [
        heading("Audit"),
        prose(lines),
        fold("Each calculator's numbers", table(audit_table(results))),
        fold("Known traps, and how they are avoided", prose([f"- **{trap}**: {how}" for trap, how in AVOIDED])),
    ]


def _facts(results: Results) -> list[str]:
    facts = json.dumps(results.facts, indent=2, sort_keys=True, ensure_ascii=False)
    return [
        heading("What the numbers depend on"),
        f"<p>Fingerprint {escape(results.facts['fingerprint'])}</p>",
        fold("All of it", f"<pre>{escape(facts)}</pre>"),
    ]
