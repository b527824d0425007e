"""DPG-Bench (Hu et al., 2024, ELLA, arXiv 2403.05135): long prompts with questions, from the user's copy.

The official score asks mPLUG-large, and counts a question as wrong where one that it depends on was answered no. Here
the questions are asked of a vision-language model as for Soft-TIFA, each by itself, so the numbers are not the official
ones.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from imagen.checks.captions import checked_prompt
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import Prompt, PromptSet, Question, list_prompts
from imagen.files import open_regular, user_path

TABLE, TEXTS = "dpg_bench.csv", "prompts"
COLUMNS = ("item_id", "text", "category_broad", "question_natural_language")
"""Those that are read; the table also has keywords, proposition_id, dependency, category_detailed and tuple."""

WAY_OUT = "use ELLA's published folder dpg_bench"
SOURCE = re.compile(r"[A-Za-z_]+")


def dpg_prompts(path: str | Path, count: int | None = None) -> PromptSet:
    """The first `count` prompts of DPG-Bench, or all.

    `path` is dpg_bench.csv, with one question a line, or a folder that holds it; or a folder of texts, one prompt in
    each `<item>.txt`, which has no questions. Texts are in the order of their names. The category of a prompt is the
    source that its item is named after (partiprompts97: partiprompts); the kind of a question its `category_broad`.

    Raises:
        UserError: for a table or text that cannot be used (names it), and if there are fewer prompts.
    """
    path = user_path(path)
    table = path / TABLE if path.is_dir() else path
    if table.is_file() or not path.is_dir():
        content = _read(table)
        prompts = _from_table(content, f"DPG-Bench table {table}")
    else:
        texts = {file: _read(file) for file in _texts(path)}
        content = b"\0".join(texts.values())
        prompts = [_prompt(file.stem, _decoded(text, f"{file}"), (), f"{file}") for file, text in texts.items()]
    if count is not None and not 1 <= count <= len(prompts):
        raise UserError(f"DPG-Bench {path} has {len(prompts)} prompts; prompts.count is {count}")
    return PromptSet(tuple(prompts[:count]), {"kind": "DPG-Bench", "sha256": hashlib.sha256(content).hexdigest()})


def _texts(folder: Path) -> list[Path]:
    files = sorted((folder / TEXTS if (folder / TEXTS).is_dir() else folder).glob("*.txt"))
    if not files:
        raise UserError(f"DPG-Bench folder {folder} holds neither {TABLE} nor texts (*.txt); {WAY_OUT}")
    return files


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise UserError(f"DPG-Bench file {path} cannot be read: {error.strerror}; {WAY_OUT}") from error


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error


def _from_table(content: bytes, where: str) -> list[Prompt]:
    try:
        rows = list(csv.DictReader(io.StringIO(_decoded(content, where), newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{where} is not a table of commas ({error}); {WAY_OUT}") from error
    missing = [name for name in COLUMNS if name not in (rows[0] if rows else {})]
    if missing:
        raise UserError(f"{where} has no column {' and no column '.join(missing)}; {WAY_OUT}")
    items: dict[str, list[Mapping[str, str | None]]] = {}
    for row in rows:
        items.setdefault((row["item_id"] or "").strip(), []).append(row)
    return [_of_item(item, of_item, where) for item, of_item in items.items()]


def _of_item(item: str, rows: Sequence[Mapping[str, str | None]], where: str) -> Prompt:
    where = f"{where}, item_id {item!r:.60}"
    texts = list(dict.fromkeys(text for text in _column(rows, "text") if text))
    if not item or len(texts) != 1:
        raise UserError(f"{where}: {len(texts)} different texts, expected one; {WAY_OUT}")
    questions = list(zip(_column(rows, "question_natural_language"), _column(rows, "category_broad"), strict=True))
    if not all(question for question, _ in questions):
        raise UserError(f"{where}: a question_natural_language is empty; {WAY_OUT}")
    return _prompt(item, texts[0], [Question(text, "Yes", kind or None) for text, kind in questions], where)


def _column(rows: Iterable[Mapping[str, str | None]], name: str) -> list[str]:
    return [" ".join((row[name] or "").split()) for row in rows]


def _prompt(item: str, text: str, questions: Sequence[Question], where: str) -> Prompt:
    prompt = list_prompts([checked_prompt(" ".join(text.split()), where)]).prompts[0]
    source = SOURCE.match(item)
    return replace(prompt, category=source[0] if source else None, questions=tuple(questions))
