"""The questions of a rating page. Order and sides of the pictures reveal nothing about their sources."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from imagen.errors import UserError
from imagen.evaluation.rating.questions import ALIGNMENT, CAPTION, PHOTOREALISM, QUALITY, SET_SIZE, Question
from imagen.evaluation.results.archive import Archive
from imagen.evaluation.results.results import GROUND_TRUTH, NOISE
from imagen.tensors import Pixels

REAL = "real pictures"
"""The source name of real pictures."""


@dataclass(frozen=True)
class Source:
    """The pictures of one model or control, one for each prompt. `name` goes into the key, never into the page."""

    name: str
    pictures: Pixels


@dataclass(frozen=True)
class Item:
    """One question. `rows`: the rows of the pictures shown from each source in `sources` (left, right). `expected`: the
    right answer of a check; None for a question that counts."""

    question: Question
    caption: str
    category: str | None
    sources: tuple[str, ...]
    rows: tuple[int, ...]
    expected: int | None = None


@dataclass(frozen=True)
class Exhibits:
    """The pictures that can be shown. Row i of every source belongs to `texts[i]`."""

    texts: Sequence[str]
    categories: Sequence[str | None]
    models: Sequence[Source]
    real: Source | None
    noise: Source | None

    def pictures(self, source: str) -> Pixels:
        known = [*self.models, *(extra for extra in (self.real, self.noise) if extra)]
        return next(one.pictures for one in known if one.name == source)


def exhibits(archives: Sequence[Archive], names: Sequence[str], cells: Sequence[str], count: int | None) -> Exhibits:
    """The kept pictures of one cell of each evaluation, and of their controls.

    Raises UserError if the evaluations have different prompts or fewer than `count` pictures.
    """
    models = [Source(n, a.pictures[cell]) for n, a, cell in zip(names, archives, cells, strict=True)]
    have = min(len(model.pictures) for model in models)
    if not have or (count is not None and not 1 <= count <= have):
        need = "at least 1 is needed" if count is None else f"--count is {count}"
        raise UserError(
            f"{names[0]} keeps {have} pictures of a cell and {need}; evaluate with a larger grid_prompts to keep more"
        )
    have = count or have
    texts = list(archives[0].texts[:have])
    if any(list(archive.texts[:have]) != texts for archive in archives):
        raise UserError(f"{names[0]} and {names[1]} have different prompts; compare pictures of the same prompts")
    controls = archives[0].pictures
    return Exhibits(
        texts,
        archives[0].categories[:have],
        [replace(model, pictures=model.pictures[:have]) for model in models],
        Source(REAL, controls[GROUND_TRUTH]) if GROUND_TRUTH in controls else None,
        Source(NOISE, controls[NOISE]) if NOISE in controls else None,
    )


def paper_items(shown: Exhibits) -> list[Item]:
    """Photorealism questions (a model's picture against the real one, or against the other model's), and for every
    picture alone whether its caption describes it. Raises UserError for one model without real pictures."""
    pair = list(shown.models) if len(shown.models) == 2 else [*shown.models, shown.real]
    if None in pair:
        raise UserError("these prompts have no real pictures to compare with; give a second evaluation")
    rows = range(len(shown.texts))
    first = [_item(shown, PHOTOREALISM, pair, (row,)) for row in rows]
    alone = [*shown.models, *([shown.real] if shown.real else [])]
    return first + [_item(shown, CAPTION, [source], (row,)) for source in alone for row in rows]


def drawbench_items(shown: Exhibits) -> list[Item]:
    """For each prompt, both models' pictures as two sets: which has the higher quality, and which fits the caption."""
    if len(shown.models) != 2:
        raise UserError("the DrawBench protocol compares two models; give two evaluations")
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(shown.texts):
        rows.setdefault(text, []).append(row)
    return [
        _item(shown, question, shown.models, tuple(same[:SET_SIZE]))
        for question in (QUALITY, ALIGNMENT)
        for same in rows.values()
    ]


PROTOCOLS: dict[str, Callable[[Exhibits], list[Item]]] = {"paper": paper_items, "drawbench": drawbench_items}


def with_checks(items: Sequence[Item], shown: Exhibits, count: int, draw: random.Random) -> list[Item]:
    """Adds `count` checks for each question: noise replaces a picture, so that an attentive rater answers rightly."""
    checks = []
    for question in dict.fromkeys(item.question for item in items):
        same = [item for item in items if item.question == question]
        if count and shown.noise is None:
            raise UserError("this evaluation has no noise pictures for checks; use --checks 0")
        for item in draw.sample(same, min(count, len(same))):
            kept = draw.choice(item.sources)
            noise = (NOISE,) if question.sides == 1 else (kept, NOISE)
            wrong = len(question.choices) - 1 if question.sides == 1 else 0
            checks.append(replace(item, sources=noise, expected=wrong))
    return [*items, *checks]


def arrange(items: Sequence[Item], draw: random.Random) -> list[Item]:
    """Question by question, each in random order with random sides."""
    arranged = []
    for question in dict.fromkeys(item.question for item in items):
        same = [_maybe_turned(item, draw) for item in items if item.question == question]
        draw.shuffle(same)
        arranged += same
    return arranged


def _maybe_turned(item: Item, draw: random.Random) -> Item:
    if item.question.sides == 1 or draw.random() < 0.5:
        return item
    expected = None if item.expected is None else len(item.question.choices) - 1 - item.expected
    return replace(item, sources=item.sources[::-1], expected=expected)


def _item(shown: Exhibits, question: Question, sources: Sequence[Source], rows: tuple[int, ...]) -> Item:
    category = shown.categories[rows[0]]
    return Item(question, shown.texts[rows[0]], category, tuple(source.name for source in sources), rows)
