"""Scores and preference rates with bootstrap intervals over raters and prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from imagen.evaluation.rating.answers import Rater
from imagen.evaluation.rating.questions import CAPTION, CAPTION_SCORES, QUESTIONS

LEVEL = 0.95
DRAWS = 2000
CHUNK = 100
INDIFFERENT = "indifferent"


@dataclass(frozen=True)
class Score:
    """A mean over `answers` answers of `raters` raters, 0 to 100, with its interval.

    `subject`: a source of pictures, or `indifferent`. `category`: None for all prompts together."""

    question: str
    subject: str
    category: str | None
    value: float
    low: float
    high: float
    answers: int
    raters: int


@dataclass(frozen=True)
class Answer:
    """One answer as a number from 0 to 100 for one subject."""

    question: str
    subject: str
    category: str | None
    rater: int
    prompt: str
    value: float


def score(raters: Sequence[Rater], items: Sequence[Mapping[str, Any]], seed: int) -> list[Score]:
    """Scores by question and subject, over all prompts and, if the prompts have categories, by category.

    A caption question scores the source of its picture (yes 100, somewhat 50, no 0). A comparison gives 100 to the
    preferred subject and 0 to the others, so its scores add up to 100. Checks and missing answers do not count.
    """
    answers = [
        answer
        for index, rater in enumerate(raters)
        for choice, item in zip(rater.answers, items, strict=True)
        if choice is not None and item["expected"] is None
        for answer in _values(item, choice, index)
    ]
    groups: dict[tuple[str, str, str | None], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.question, answer.subject, None), []).append(answer)
    for answer in answers:
        if answer.category is not None:
            groups.setdefault((answer.question, answer.subject, answer.category), []).append(answer)
    return [_score(*group, members, seed) for group, members in groups.items()]


def _values(item: Mapping[str, Any], choice: int, rater: int) -> list[Answer]:
    question, category, prompt = QUESTIONS[item["question"]], item["category"], item["caption"]
    if question == CAPTION:
        values = {item["sources"][0]: CAPTION_SCORES[choice]}
    else:
        left, right = item["sources"]
        middle = [INDIFFERENT] * (len(question.choices) - 2)
        chosen = [left, *middle, right][choice]
        # Ordered by name, so that the sides on the page do not affect the order of the table.
        values = {subject: 100.0 * (subject == chosen) for subject in [*sorted((left, right)), *middle]}
    return [Answer(question.name, subject, category, rater, prompt, value) for subject, value in values.items()]


def _score(question: str, subject: str, category: str | None, answers: Sequence[Answer], seed: int) -> Score:
    values = np.array([answer.value for answer in answers])
    raters = np.unique([answer.rater for answer in answers], return_inverse=True)[1]
    prompts = np.unique([answer.prompt for answer in answers], return_inverse=True)[1]
    low, high = bootstrap(values, raters, prompts, seed)
    return Score(question, subject, category, float(values.mean()), low, high, len(answers), int(raters.max()) + 1)


def bootstrap(
    values: Float64[np.ndarray, "answers"],
    raters: Int[np.ndarray, "answers"],
    prompts: Int[np.ndarray, "answers"],
    seed: int,
) -> tuple[float, float]:
    """The percentile interval of the mean, of nominal coverage `LEVEL`, by resampling raters and prompts.

    `raters` and `prompts` are numbered from 0. Both are drawn with replacement, independently (the pigeonhole bootstrap
    of Owen 2007), so the weight of an answer is the product of two counts. With few raters the interval is somewhat too
    narrow (docs/how-to/rate_pictures.md has figures). With one rater the interval is over prompts alone, with one
    prompt over raters alone.
    """
    draw = np.random.default_rng(seed)
    means = []
    for _ in range(DRAWS // CHUNK):
        weights = _counts(draw, int(raters.max()) + 1)[:, raters] * _counts(draw, int(prompts.max()) + 1)[:, prompts]
        total = weights.sum(axis=1)
        means.append((weights @ values)[total > 0] / total[total > 0])
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _counts(draw: np.random.Generator, count: int) -> Int[np.ndarray, "draws count"]:
    """The number of times each of `count` items is drawn in `count` draws with replacement, for `CHUNK` repetitions."""
    return draw.multinomial(count, np.full(count, 1 / count), size=CHUNK)
