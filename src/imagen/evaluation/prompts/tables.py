"""Published prompt sets, read from the user's own copy of their tables; no prompt text is shipped."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import PromptSet, list_prompts
from imagen.files import user_path


@dataclass(frozen=True)
class Table:
    """The format and size of a published table."""

    name: str
    separator: str
    prompt: str
    category: str
    rows: int
    categories: int


DRAWBENCH = Table("DrawBench", ",", "Prompts", "Category", rows=200, categories=11)
"""Saharia et al. (2022), appendix C."""

PARTI = Table("PartiPrompts", "\t", "Prompt", "Category", rows=1632, categories=12)
"""Yu et al. (2022), section 4."""


def drawbench_prompts(path: str | Path, count: int | None = None) -> PromptSet:
    """The first `count` prompts of DrawBench.csv, or all 200. Raises UserError if the table is not the published
    one."""
    return _read(DRAWBENCH, user_path(path), count)


def parti_prompts(path: str | Path, count: int | None = None) -> PromptSet:
    """The first `count` prompts of PartiPrompts.tsv, or all 1632. Raises UserError if the table is not the published
    one."""
    return _read(PARTI, user_path(path), count)


def _read(table: Table, path: Path, count: int | None) -> PromptSet:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=table.separator))
    except OSError as error:
        raise UserError(f"{table.name} table {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table.name} table {path} is not a UTF-8 table: {error}") from error
    missing = {table.prompt, table.category} - set(rows[0] if rows else {})
    if missing:
        raise UserError(f"{table.name} table {path} has no column {' and no column '.join(sorted(missing))}")
    categories = {(row[table.category] or "").strip() for row in rows}
    if (len(rows), len(categories)) != (table.rows, table.categories):
        raise UserError(
            f"{table.name} table {path} has {len(rows)} prompts in {len(categories)} categories, the published one has "
            f"{table.rows} in {table.categories}; use prompts=file for prompts of your own"
        )
    if count is not None and not 1 <= count <= len(rows):
        raise UserError(f"{table.name} has {len(rows)} prompts; prompts.count is {count}")
    texts = [" ".join((row[table.prompt] or "").split()) for row in rows[:count]]
    prompts = zip(list_prompts(texts).prompts, rows, strict=False)
    with_category = tuple(replace(prompt, category=row[table.category].strip()) for prompt, row in prompts)
    return PromptSet(with_category, {"kind": table.name})
