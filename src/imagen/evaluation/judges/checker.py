"""Procedures that read off a picture which parts of its prompt hold, with verdicts in the form of block files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from imagen.evaluation.judges.metric import ABSTAINED, checker_key
from imagen.evaluation.prompts.prompt_set import Prompt
from imagen.shapes.checking import CATEGORIES
from imagen.tensors import Pixels

VERSION = 1
"""Part of every fingerprint. Increase it when verdicts of the same pictures may have changed."""

Verdict = Mapping[str, Any]
"""`correct`: whether every part is right; `abstained`: whether something was not recognised; `parts` and `categories`:
by name, whether it is right."""


class Checker(ABC):
    """Decides which parts of a prompt hold in a picture. `identity`: what verdicts depend on, for fingerprints.
    `categories`: the categories of its verdicts that tables and plots show."""

    identity: Mapping[str, Any]
    categories: Sequence[str] = ()

    @abstractmethod
    def __call__(self, pixels: Pixels, prompts: Sequence[Prompt]) -> list[Verdict | None]:
        """One verdict for each picture; None if its prompt cannot be checked."""


class ShapesChecker(Checker):
    """Decides which parts of a caption hold in its picture. Prompts that are not captions of the world get None."""

    identity: Mapping[str, Any] = {
        "checker": "imagen.data.shapes.check",  # the original module, kept because the name is in every fingerprint
        "version": VERSION,
    }
    categories = tuple(category.name for category in CATEGORIES)

    def __call__(self, pixels: Pixels, prompts: Sequence[Prompt]) -> list[Verdict | None]:
        return [self._verdict(picture, prompt) for picture, prompt in zip(pixels.numpy(), prompts, strict=True)]

    def _verdict(self, picture: Any, prompt: Prompt) -> Verdict | None:
        from imagen.shapes.checking import categories, check

        if prompt.description is None:
            return None
        verdict = check(picture, prompt.description)
        return {
            "correct": verdict.all_correct,
            "abstained": bool(verdict.abstained),
            "parts": dict(verdict.parts),
            "categories": categories(verdict),
        }


class NoChecker(Checker):
    """For prompts that no procedure can check."""

    identity: Mapping[str, Any] = {"checker": None}

    def __call__(self, pixels: Pixels, prompts: Sequence[Prompt]) -> list[Verdict | None]:
        return [None] * len(prompts)


def tallies(verdicts: Sequence[Verdict | None]) -> dict[str, list[bool]]:
    """The verdicts by name, each over the pictures to which it applies.

    `checker[all]`: every part right; `checker[<part>]`; `checker[<category>]`; `checker[abstained]`: pictures where
    something was not recognised, which counts as wrong.
    """
    checked = [verdict for verdict in verdicts if verdict is not None]
    if not checked:
        return {}
    answers: dict[str, list[bool]] = {"all": [verdict["correct"] for verdict in checked]}
    for verdict in checked:
        for name, right in {**verdict["categories"], **verdict["parts"]}.items():
            answers.setdefault(name, []).append(right)
    return {checker_key(name): values for name, values in answers.items()} | {
        ABSTAINED: [verdict["abstained"] for verdict in checked]
    }
