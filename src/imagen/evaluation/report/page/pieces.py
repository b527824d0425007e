"""Pieces of HTML from text, rows and picture files. All text is escaped here."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from imagen.evaluation.report.tables import Rows


def header(title: str) -> str:
    """The head of a page, with a place for the choice of its theme."""
    return f'<header><h1>{escape(title)}</h1><button id="theme" hidden></button></header>'


def heading(text: str) -> str:
    """The head of a section."""
    return f"<h2>{escape(text)}</h2>"


def prose(lines: Sequence[str]) -> str:
    """Lines as paragraphs; lines that begin with - as a list; text between backticks as code, between double asterisks
    in bold."""
    paragraphs = [f"<p>{_inline(line)}</p>" for line in lines if line and not line.startswith("- ")]
    items = [f"<li>{_inline(line[2:])}</li>" for line in lines if line.startswith("- ")]
    return "\n".join([*paragraphs, "<ul>", *items, "</ul>"] if items else paragraphs)


def found(sentences: Sequence[str]) -> str:
    """The box at the top of a page that says what was found; empty if nothing was."""
    return f'<section class="found">\n{heading("What was found")}\n{prose(sentences)}\n</section>' if sentences else ""


def _inline(text: str) -> str:
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    bold = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", code)
    return re.sub(r"\bw = (?=\d)", "w\u00a0=\u00a0", bold)  # kept on one line


def table(rows: Rows) -> str:
    """An HTML table that scrolls where it is too wide. The first row is the head, the first column the names."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "\n".join(_row(row) for row in rows[1:])
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _row(row: Sequence[str]) -> str:
    name, *cells = row
    return f'<tr><th scope="row">{_cell(name)}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in cells) + "</tr>"


def _cell(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**")
    return f"<b>{escape(text[2:-2])}</b>" if bold else escape(text)


def fold(summary: str, *pieces: str) -> str:
    """Pieces that are shown when the reader opens `summary`; empty if there are none."""
    content = "\n".join(piece for piece in pieces if piece)
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>" if content else ""


def picture(path: Path, description: str) -> str:
    """A PNG file embedded in the page; empty if there is no file."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p class="picture"><img alt="{escape(description)}" src="data:image/png;base64,{data}"></p>'
