"""Raters' answer files, checked against the key of their page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.checks.foreign import read_json
from imagen.errors import UserError
from imagen.evaluation.rating.page import FORMAT
from imagen.evaluation.rating.questions import QUESTIONS

CHECKS_TO_PASS = 0.8
"""Share of a rater's answered checks that must be right; the paper excludes raters below it."""


@dataclass(frozen=True)
class Rater:
    """`answers[i]`: the index of the choice for item i of the page; None if it was not answered."""

    name: str
    answers: Sequence[int | None]

    def missing(self) -> int:
        return sum(answer is None for answer in self.answers)

    def passes(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Whether enough of the rater's answered checks are right."""
        pairs = [
            (answer, item["expected"])
            for answer, item in zip(self.answers, items, strict=True)
            if item["expected"] is not None and answer is not None
        ]
        return sum(answer == expected for answer, expected in pairs) >= CHECKS_TO_PASS * len(pairs)


def read_key(path: Path) -> dict[str, Any]:
    """The key of a page. Raises UserError if the file is not a key."""
    key = _read(path)
    try:
        sound = key["format"] == FORMAT and isinstance(key["page"], str)
        for item in key["items"]:
            question = QUESTIONS[item["question"]]
            sound &= len(item["sources"]) == question.sides and isinstance(item["caption"], str)
            sound &= item["expected"] in (None, *range(len(question.choices))) and "category" in item
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise UserError(f"{path} is not the key of a rating page; give the key.json that was written beside the page")
    return key


def read_raters(paths: Sequence[Path], key: Mapping[str, Any]) -> list[Rater]:
    """The raters of all files.

    Raises UserError that names the file, for answers to another or an edited page, invalid choices, and a rater who
    appears twice.
    """
    files: dict[str, Path] = {}
    raters = []
    for path in paths:
        rater = _rater(path, key)
        if rater.name in files:
            raise UserError(f"rater '{rater.name}' is in {files[rater.name]} and in {path}; keep the file that counts")
        files[rater.name] = path
        raters.append(rater)
    return raters


def _rater(path: Path, key: Mapping[str, Any]) -> Rater:
    content = _read(path)
    page, answers, name = content.get("page"), content.get("answers"), content.get("rater")
    if page != key["page"]:
        raise UserError(
            f"{path} answers page {str(page)[:8]}, the key is of page {key['page'][:8]}: another page, or one that was "
            "edited; leave the file out or give the key of its page"
        )
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise UserError(f"{path} names no rater; have it saved again from the page")
    if not isinstance(answers, list) or len(answers) != len(key["items"]):
        given = len(answers) if isinstance(answers, list) else "no"
        raise UserError(f"{path} holds {given} answers, the page has {len(key['items'])} questions; leave the file out")
    for number, (answer, item) in enumerate(zip(answers, key["items"], strict=True), start=1):
        choices = len(QUESTIONS[item["question"]].choices)
        if answer is not None and (type(answer) is not int or not 0 <= answer < choices):
            raise UserError(f"{path}, question {number}: {answer!r} is not one of its {choices} choices; leave it out")
    return Rater(name.strip(), answers)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, "have it saved again")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no answers and no key; give files that a rating page saved")
    return content
