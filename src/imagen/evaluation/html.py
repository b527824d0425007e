"""report.html: one file with its pictures inside, which can be sent by mail and needs no network."""

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from imagen.evaluation.report_tables import Rows, control_table, curve_table, step_table
from imagen.evaluation.results import Results

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#202428;max-width:1200px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #e6e8eb}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:12.5px;white-space:nowrap}
th,td{padding:.3rem .7rem;border-bottom:1px solid #e6e8eb;text-align:right;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}
img{max-width:100%}pre{background:#f6f8fa;padding:1rem;overflow-x:auto;font-size:12px}
"""

AVOIDED = (
    ("One rounding", "all judges and the checker see the same uint8 pictures"),
    ("Common random numbers", "picture i has the same prompt and the same noise in every cell"),
    ("Double precision", "means, covariances and kernels are float64 sums of float32 features"),
    (
        "No percentile bootstrap",
        "distances get a bias-corrected jackknife; Fréchet distances from 4 pictures a feature on",
    ),
    ("No stale cache", "blocks and references are named by weights, preprocessing, prompts, seeds and samplers"),
    ("Honest names", "fid, kid and clip_score only for weights and preprocessing with the published hash"),
    ("End of text kept", "captions that are too long are cut before it, and their share is reported"),
)
"""The traps that the harness avoids, for readers who know them."""


def as_html(results: Results, headline: Sequence[str], audit: Sequence[str], folder: Path) -> str:
    """The report with the PNG files of `folder` inside; those that were not drawn are left out."""
    parts = ["<h1>Alignment against fidelity</h1>", _prose(headline), _picture(folder / "pareto.png", "Pareto plot")]
    for label in results.thresholdings:
        parts += [f"<h2>{escape(label)} thresholding</h2>", _table(curve_table(results, label))]
        parts.append(_picture(folder / f"grid-{label}.png", f"prompts down, weights across, {label} thresholding"))
    if results.steps:
        parts += [
            "<h2>From one weight to the next</h2>",
            "<p>Same prompts, same noise; bold where zero is excluded.</p>",
        ]
        parts.append(_table(step_table(results)))
    parts += ["<h2>Metrics against guidance weight</h2>", _picture(folder / "metrics.png", "metrics")]
    parts += ["<h2>Controls</h2>", _table(control_table(results))]
    parts += ["<h2>Audit</h2>", _prose(audit), _table([["trap", "how it is avoided"], *map(list, AVOIDED)])]
    facts = json.dumps(results.facts, indent=2, sort_keys=True, ensure_ascii=False)
    parts += ["<h2>What the numbers depend on</h2>", f"<pre>{escape(facts)}</pre>"]
    body = "\n".join(part for part in parts if part)
    head = f'<meta charset="utf-8"><title>Alignment against fidelity</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _prose(lines: Sequence[str]) -> str:
    """Paragraphs, and lines that begin with - as a list."""
    said = [f"<p>{escape(line)}</p>" for line in lines if line and not line.startswith("- ")]
    items = [f"<li>{escape(line[2:])}</li>" for line in lines if line.startswith("- ")]
    return "\n".join([*said, "<ul>", *items, "</ul>"] if items else said)


def _table(rows: Rows) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "\n".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cell(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**")
    return f"<b>{escape(text[2:-2])}</b>" if bold else escape(text)


def _picture(path: Path, what: str) -> str:
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{escape(what)}" src="data:image/png;base64,{data}"></p>'
