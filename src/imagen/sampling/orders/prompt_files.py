"""Rows from a file or from standard input: a caption a line, CSV with a header, or a JSON object a line."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagen.checks.captions import checked_prompt
from imagen.checks.foreign import parse_json
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import numbered_lines
from imagen.files import open_regular, user_path
from imagen.sampling.orders.rows import Row, check_columns, checked_row

STANDARD_INPUT = "-"
NUMBERS = ("seed", "guidance_weight")
"""Columns that hold no text."""

OBJECT = 'write a JSON object a line, such as {"prompt": "a red circle", "seed": 3}'
OTHERS = (".json", ".tsv")
"""Endings of files that hold no caption in each line, and that somebody may take for one of ours."""


def read_rows(given: str) -> list[Row]:
    """The rows of a file: captions, one a line, or by the ending of its name .csv or .jsonl. `-` is standard input,
    which holds captions, or JSON objects if it begins with `{`; which of the two is printed.

    Raises:
        UserError: for a file that cannot be read, that has no rows, or one that cannot be used; names file and line.
    """
    if given == STANDARD_INPUT:
        content, where = sys.stdin.buffer.read(), "standard input"
        ending = ".jsonl" if content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else ".txt"
        rows = _parsed(content, where, ending)
        print(f"{where}: read as {ending[1:]}, {len(rows)} prompt{'s' if len(rows) > 1 else ''}", flush=True)
        return rows
    path = user_path(given)
    ending = path.suffix.lower()
    if ending in OTHERS:
        raise UserError(f"prompt file {path}: {ending} is not read; write captions, one a line, or .csv or .jsonl")
    return _parsed(_content(path), f"prompt file {path}", ending)


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise UserError(f"prompt file {path} cannot be read: {error.strerror}") from error


def _parsed(content: bytes, where: str, ending: str) -> list[Row]:
    readers: dict[str, Callable[[bytes, str], list[Row]]] = {".csv": _csv, ".jsonl": _jsonl}
    rows = readers.get(ending, _captions)(content, where)
    if not rows:
        raise UserError(f"{where} holds no prompts; give at least one")
    return rows


def _captions(content: bytes, where: str) -> list[Row]:
    return [Row(checked_prompt(text, f"{where}, line {line}")) for line, text in numbered_lines(content, where)]


def _jsonl(content: bytes, where: str) -> list[Row]:
    rows = []
    for line, text in numbered_lines(content, where):
        here = f"{where}, line {line}"
        given = parse_json(text, here, OBJECT)
        if not isinstance(given, dict):
            raise UserError(f"{here}: {given!r:.80} is no JSON object; {OBJECT}")
        rows.append(checked_row(given, here))
    return rows


def _csv(content: bytes, where: str) -> list[Row]:
    numbered_lines(content, where)  # refuses what is not UTF-8, by its line
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    header: list[str] | None = None
    rows: list[Row] = []
    while True:
        here = f"{where}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{here}: not CSV ({error}); put a text with commas or quotes in double quotes") from None
        if cells is None:
            return rows
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if header is None:
            header = cells
            check_columns(header, here)
        elif len(cells) != len(header):
            raise UserError(
                f"{here}: {len(cells)} cells under {len(header)} columns ({','.join(header)}); put a text with commas "
                "in double quotes"
            )
        else:
            rows.append(checked_row(_values(dict(zip(header, cells, strict=True))), here))


def _values(cells: dict[str, str]) -> dict[str, Any]:
    """Numbers as JSON writes them, None for an empty cell. What is no number stays text, for the check to refuse."""
    return {name: _number(cell) if name in NUMBERS else cell or None for name, cell in cells.items()}


def _number(cell: str) -> Any:
    try:
        return parse_json(cell, "", "") if cell else None
    except UserError:
        return cell
