"""The files of a sweep: results.json, sweep.csv, plots, grids, report.md, report.html and a TensorBoard log."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from imagen.evaluation.judges.extractor import left_out_lines
from imagen.evaluation.report.copies import HEADING, copies_json, copies_lines, copies_table, write_copies
from imagen.evaluation.report.cost.numbers import cost_json
from imagen.evaluation.report.cost.plot import plot_cost
from imagen.evaluation.report.equal_alignment import EQUAL_ALIGNMENT, equal_alignment_about, equal_alignment_tables
from imagen.evaluation.report.findings import best_weights_table, findings
from imagen.evaluation.report.html import ANSWERS, COST, STRIPS_ARE, as_html
from imagen.evaluation.report.metric_plots import plot_metrics
from imagen.evaluation.report.pareto_plot import answer_pairs, plot_answers, plot_pareto
from imagen.evaluation.report.strips import strip_files
from imagen.evaluation.report.tables import (
    audit_table,
    best_table,
    category_tables,
    control_table,
    curve_table,
    step_table,
)
from imagen.evaluation.report.tensorboard import write_tensorboard
from imagen.evaluation.results.archive import write_archive
from imagen.evaluation.results.results import FORMAT, GROUND_TRUTH, Results
from imagen.evaluation.statistics.jackknife import Interval
from imagen.evaluation.sweep.plan import TAUGHT, file_label
from imagen.files import write_json, write_text
from imagen.pictures import labelled_grid, save_png

PACKAGES = ("torch", "torchvision", "transformers", "torchmetrics", "torch-fidelity", "numpy")
WHY_NOT_COMPARABLE = (
    "numbers of few pictures and, unless named fid or clip_score, of the judges they are named after; "
    "compare them within this file only"
)

INTERVALS_ARE = (
    "95 %, of sampling only (same model, same reference): a jackknife of 20 groups, corrected for bias, for distances "
    "and alignments; Wilson's for rates. Another training moves a number further"
)


def write_report(results: Results, out: Path) -> None:
    """Write all files to the folder `out`. Equal results give equal files, except the TensorBoard log."""
    out.mkdir(parents=True, exist_ok=True)
    write_archive(results, out)
    write_json(as_json(results), out / "results.json")
    write_text(as_csv(results), out / "sweep.csv")
    plot_pareto(results, out / "pareto.png")
    plot_answers(results, out / ANSWERS)
    plot_cost(results, out / COST)
    plot_metrics(results, out / "metrics.png")
    for old in out.glob("grid-*.png"):  # of curves that are no longer in the plan
        old.unlink()
    for label in results.curves:
        _write_grid(results, label, out / f"grid-{file_label(label)}.png")
    copies = write_copies(results, out)
    write_text(as_markdown(results, [path.name for path in strip_files(out)], copies), out / "report.md")
    write_text(as_html(results, headline(results), audit_lines(results), out, copies), out / "report.html")
    write_tensorboard(results, out / "tensorboard")


def as_json(results: Results) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "format": FORMAT,
        "comparable_to_published": False,
        "why_not_comparable": WHY_NOT_COMPARABLE,
        "metrics": [asdict(metric) for metric in results.metrics.values()],
        "cells": [
            {
                "curve": result.cell.curve,
                "guidance_weight": result.cell.guidance_weight,
                "pictures": result.count,
                "metrics": dict(result.metrics),
                "intervals": {name: asdict(interval) for name, interval in result.intervals.items()},
                "by_category": {name: asdict(found) for name, found in result.by_category.items()},
                **cost_json(result.cost),
            }
            for result in results.cells
        ],
        "steps": [asdict(step) for step in results.steps],
        **({"equal_alignment": list(map(asdict, results.equal_alignment))} if results.equal_alignment else {}),
        "intervals_are": INTERVALS_ARE,
        "controls": {name: dict(metrics) for name, metrics in results.controls.items()},
        "control_intervals": {
            name: {metric: asdict(interval) for metric, interval in intervals.items()}
            for name, intervals in results.control_intervals.items()
        },
        **({"nearest_training_pictures": copies_json(results.copies, results)} if results.copies else {}),
        "audit": {
            "tolerance": "1e-5 relative, float64, same features",
            "agrees": all(audit.agrees for audit in results.audits),
            "largest_relative_difference": max((audit.relative_difference for audit in results.audits), default=0.0),
            "numbers": len(results.audits),
        },
        **results.facts,
        "versions": {package: version(package) for package in PACKAGES},
    }


def as_csv(results: Results) -> str:
    """Tidy format: one number per line. Empty: `guidance_weight` of controls, `low` and `high` without an interval."""

    def limits(intervals: Mapping[str, Interval], metric: str) -> list[str]:
        interval = intervals.get(metric)
        return [repr(interval.low), repr(interval.high)] if interval else ["", ""]

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "name", "guidance_weight", "metric", "value", "low", "high", "pictures"])
    for result in results.cells:
        cell = result.cell
        for metric, value in result.metrics.items():
            row = ["cell", cell.curve, repr(cell.guidance_weight), metric, repr(value)]
            writer.writerow([*row, *limits(result.intervals, metric), result.count])
    for name, metrics in results.controls.items():
        intervals = results.control_intervals.get(name, {})
        for metric, value in metrics.items():
            row = ["control", name, "", metric, repr(value), *limits(intervals, metric)]
            writer.writerow([*row, results.facts["pictures_per_cell"]])
    return text.getvalue()


def as_markdown(results: Results, strips: Sequence[str] = (), copies: Sequence[tuple[str, str]] = ()) -> str:
    """report.md: plots, tables for each curve, controls, audit, and all settings that the numbers depend on. `strips`:
    file names of denoising strips; `copies`: those of the nearest training pictures, with descriptions."""
    lines = ["# Alignment against fidelity", ""]
    lines += [line for sentence in findings(results) for line in (sentence, "")]
    lines += [*headline(results), "", "![Pareto](pareto.png)", ""]
    lines += [f"![right answers]({ANSWERS})", ""] if answer_pairs(results) else []
    lines += [f"![cost]({COST})", ""] if results.compared_by else []
    lines += [*markdown_table(best_weights_table(results)), ""] if len(results.curves) > 1 else []
    lines += [*markdown_table(best_table(results)), ""]
    for label in results.curves:
        lines += [f"## {label}", "", *markdown_table(curve_table(results, label)), ""]
        for rows in category_tables(results, label).values():
            lines += [*markdown_table(rows), ""]
        lines += [f"![pictures](grid-{file_label(label)}.png)", ""]
    if results.equal_alignment:
        lines += [f"## {EQUAL_ALIGNMENT}", "", equal_alignment_about(results), ""]
        for rows in equal_alignment_tables(results):
            lines += [*markdown_table(rows), ""]
    if strips:
        lines += ["## Denoising strips", "", STRIPS_ARE, "", *(f"![{name}]({name})" for name in strips), ""]
    if results.steps:
        lines += ["## From one weight to the next", "", "Same prompts, same noise; bold where zero is excluded.", ""]
        lines += [*markdown_table(step_table(results)), ""]
    if results.copies:
        lines += [f"## {HEADING}", ""]
        lines += [line if line.startswith("- ") else f"{line}\n" for line in copies_lines(results.copies)]
        lines += ["", *markdown_table(copies_table(results, results.copies)), ""]
        lines += [f"{text}:\n\n![{text}]({name})\n" for name, text in copies]
    lines += ["![metrics](metrics.png)", "", "## Controls", "", *markdown_table(control_table(results)), ""]
    lines += [
        "## Audit",
        "",
        *audit_lines(results),
        "",
        *markdown_table(audit_table(results)),
        "",
        "## What the numbers depend on",
        "",
    ]
    lines += ["```json", json.dumps(results.facts, indent=2, sort_keys=True), "```", ""]
    return "\n".join(lines)


def headline(results: Results) -> list[str]:
    """A summary of the comparison, and warnings; lines that begin with - form a list."""
    facts = results.facts
    lines = [
        f"{facts['pictures_per_cell']} pictures of {facts['resolution']} × {facts['resolution']} for each point, on "
        f"the same noise; {facts['reference']['count']} real pictures. {WHY_NOT_COMPARABLE.capitalize()}.",
        "",
    ]
    for key, ratio in facts["samples_per_dimension"].items():
        if ratio < 4:
            needed = facts["pictures_for_interval"][key]
            lines.append(
                f"- `{key}`: N / d = {ratio:.2g} is below 4: biased upwards, comparable at equal N only; "
                f"an interval needs {needed} pictures"
            )
    lines.append(f"- intervals: {INTERVALS_ARE}.")
    for judge in facts["taught_by"]:
        lines.append(f"- **{TAUGHT.format(judge)}**")
    lines += [f"- **{line}**" for line in left_out_lines(facts["captions_too_long"], facts["pictures_per_cell"])]
    return lines


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table. The first row is the head, the first column the names."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|:--|" + "--:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in body]


def audit_lines(results: Results) -> list[str]:
    """The largest difference, and every number beyond the tolerance."""
    wrong = [audit for audit in results.audits if not audit.agrees]
    largest = max((audit.relative_difference for audit in results.audits), default=0.0)
    verdict = "DISAGREEMENT" if wrong else "agreement"
    lines = [
        f"{verdict}: {len(results.audits)} numbers computed again by torchmetrics (and, for distances, torch-fidelity) "
        f"from the same features; largest relative difference {largest:.1e} (allowed 1e-5)."
    ]
    for audit in wrong:
        others = f"torchmetrics {audit.torchmetrics!r}, torch-fidelity {audit.torch_fidelity!r}"
        lines.append(f"- {audit.key}: ours {audit.ours!r}, {others}")
    return lines


def _write_grid(results: Results, label: str, path: Path) -> None:
    """Prompts down, weights across, the same noise in a row; the real picture comes first if there is one."""
    cells = [result.cell for result in results.curve(label)]
    columns = [(f"w = {cell.guidance_weight:g}", results.pictures[cell.name]) for cell in cells]
    if GROUND_TRUTH in results.pictures:
        columns.insert(0, ("real", results.pictures[GROUND_TRUTH]))
    count = len(columns[0][1])
    if count:
        rows = [[pictures[row].numpy() for _, pictures in columns] for row in range(count)]
        grid = labelled_grid(rows, results.texts[:count], [name for name, _ in columns])
        save_png(grid, path, {"curve": label, "fingerprint": results.facts["fingerprint"]})
