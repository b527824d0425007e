"""report.html: one file with its pictures inside, which can be mailed and needs no network."""

import base64
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from imagen.evaluation.report.copies import HEADING, copies_lines, copies_table
from imagen.evaluation.report.equal_alignment import EQUAL_ALIGNMENT, equal_alignment_about, equal_alignment_tables
from imagen.evaluation.report.strips import strip_files
from imagen.evaluation.report.tables import (
    Rows,
    audit_table,
    best_table,
    category_tables,
    control_table,
    curve_table,
    step_table,
)
from imagen.evaluation.results.results import Results
from imagen.evaluation.sweep.plan import file_label

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#202428;max-width:1200px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #e6e8eb}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:12.5px;white-space:nowrap}
th,td{padding:.3rem .7rem;border-bottom:1px solid #e6e8eb;text-align:right;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}
img{max-width:100%}pre{background:#f6f8fa;padding:1rem;overflow-x:auto;font-size:12px}
"""

STRIPS_ARE = (
    "Each stage's estimates of the picture (x0, guided and thresholded), from noise on the left to the picture on the "
    "right; the same noise for every weight."
)

ANSWERS = "pareto_answers.png"
"""The plot of fidelity against shares of right answers."""

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


def as_html(
    results: Results,
    headline: Sequence[str],
    audit: Sequence[str],
    folder: Path,
    copies: Sequence[tuple[str, str]] = (),
) -> str:
    """The report with the PNG files of `folder` inside; plots that were not drawn are left out. `copies`: the files of
    the nearest training pictures, with descriptions."""
    parts = ["<h1>Alignment against fidelity</h1>", prose(headline), picture(folder / "pareto.png", "Pareto plot")]
    parts += [picture(folder / ANSWERS, "right answers against fidelity"), table(best_table(results))]
    for label in results.curves:
        parts += [f"<h2>{escape(label)}</h2>", table(curve_table(results, label))]
        parts += [table(rows) for rows in category_tables(results, label).values()]
        parts.append(picture(folder / f"grid-{file_label(label)}.png", f"prompts down, weights across, {label}"))
    if results.equal_alignment:
        parts += [f"<h2>{EQUAL_ALIGNMENT}</h2>", f"<p>{escape(equal_alignment_about(results))}</p>"]
        parts += [table(rows) for rows in equal_alignment_tables(results)]
    if results.steps:
        parts += [
            "<h2>From one weight to the next</h2>",
            "<p>Same prompts, same noise; bold where zero is excluded.</p>",
        ]
        parts.append(table(step_table(results)))
    if strips := strip_files(folder):
        parts += ["<h2>Denoising strips</h2>", f"<p>{STRIPS_ARE}</p>"]
        parts += [picture(path, "estimates of x0 across, prompts and weights down") for path in strips]
    if results.copies:
        parts += [f"<h2>{HEADING}</h2>", prose(copies_lines(results.copies))]
        parts.append(table(copies_table(results, results.copies)))
        parts += [f"<p>{escape(text)}.</p>{picture(folder / name, text)}" for name, text in copies]
    parts += ["<h2>Metrics against guidance weight</h2>", picture(folder / "metrics.png", "metrics")]
    parts += ["<h2>Controls</h2>", table(control_table(results))]
    parts += [
        "<h2>Audit</h2>",
        prose(audit),
        table(audit_table(results)),
        table([["trap", "how it is avoided"], *map(list, AVOIDED)]),
    ]
    facts = json.dumps(results.facts, indent=2, sort_keys=True, ensure_ascii=False)
    parts += ["<h2>What the numbers depend on</h2>", f"<p>Fingerprint {escape(results.facts['fingerprint'])}</p>"]
    parts.append(f"<details><summary>all of it</summary><pre>{escape(facts)}</pre></details>")
    return document("Alignment against fidelity", parts)


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page made of pieces of HTML; empty pieces are left out."""
    body = "\n".join(part for part in parts if part)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def prose(lines: Sequence[str]) -> str:
    """Lines as paragraphs; lines that begin with - as a list; text between backticks as code."""
    paragraphs = [f"<p>{_inline(line)}</p>" for line in lines if line and not line.startswith("- ")]
    items = [f"<li>{_inline(line[2:])}</li>" for line in lines if line.startswith("- ")]
    return "\n".join([*paragraphs, "<ul>", *items, "</ul>"] if items else paragraphs)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def table(rows: Rows) -> str:
    """An HTML table. The first row is the head, the first column the names."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "\n".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cell(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**")
    return f"<b>{escape(text[2:-2])}</b>" if bold else escape(text)


def picture(path: Path, description: str) -> str:
    """A PNG file embedded in the page; empty if there is no file."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{escape(description)}" src="data:image/png;base64,{data}"></p>'
