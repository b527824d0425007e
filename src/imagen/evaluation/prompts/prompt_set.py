"""The prompts of an evaluation: shapes captions with exact answers, a text file, or a list."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagen.checks.arguments import Count, described, fits
from imagen.checks.captions import checked_prompt
from imagen.checks.worlds import World
from imagen.data.shapes_source import SHAPES
from imagen.data.source import Picture
from imagen.errors import UserError
from imagen.evaluation.statistics.jackknife import GROUPS
from imagen.files import open_regular, user_path
from imagen.shapes import Description, Scene, draw, parse, sample_scene


class Truth(ABC):
    """The true picture of a prompt."""

    @abstractmethod
    def draw(self, resolution: int) -> Picture:
        """The picture, `resolution` pixels per side."""


@dataclass(frozen=True)
class TrueScene(Truth):
    """A scene of the shapes world."""

    scene: Scene

    def draw(self, resolution: int) -> Picture:
        return draw(self.scene, resolution)


@dataclass(frozen=True)
class Question:
    """Something asked about the picture of a prompt, and the answer of a right picture, such as "Yes" or "two". `kind`:
    which skill it asks for, in a set that says so, such as "count"."""

    text: str
    answer: str
    kind: str | None = None


@dataclass(frozen=True)
class Prompt:
    """A caption; its description, if the checker of the shapes world can read it; its true picture, if there is one;
    its category, in a published set that has categories; what is asked about its picture, in a set with questions."""

    text: str
    description: Description | None = None
    truth: Truth | None = None
    category: str | None = None
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """Prompts in order. Picture i of an evaluation is made from prompt i, so the order matters.

    `identity` names the source of the prompts. It does not depend on their number, so a longer set can reuse the
    pictures of a shorter one.

    `world`: of whose pictures the prompts are captions; None if they may be about anything. `repeats`: how often each
    prompt is there (`repeated`).
    """

    prompts: tuple[Prompt, ...]
    identity: dict[str, Any]
    world: World | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UserError(f"prompts ({self.identity}) are empty; give at least one")

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def texts(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]

    def draw_truth(self, index: int, resolution: int) -> Picture:
        """The true picture of a prompt; for a set that `have_truths` only."""
        truth = self.prompts[index].truth
        assert truth is not None, self.texts[index]
        return truth.draw(resolution)

    def first(self, count: int) -> "PromptSet":
        """The set of its first `count` prompts."""
        return replace(self, prompts=self.prompts[:count])

    def repeated(self, times: Any) -> "PromptSet":
        """Every prompt `times` times: all of them, and then all of them again. Every group of a jackknife holds all
        pictures of its prompts, so intervals allow for pictures of one prompt being alike.

        Raises:
            UserError: for a number that is no count, and for prompts that do not fill the groups evenly.
        """
        if not fits(times, Count):
            raise UserError(f"pictures_per_prompt={times} must be {described(Count)}")
        if times == 1:
            return self
        if len(self) % GROUPS:
            fewer = len(self) // GROUPS * GROUPS
            way_out = f"set prompts.count={fewer}" if fewer else f"give at least {GROUPS}"
            raise UserError(
                f"pictures_per_prompt={times} needs a multiple of {GROUPS} prompts, and there are {len(self)}: "
                f"{way_out}"
            )
        identity = self.identity | {"count": len(self), "pictures_per_prompt": times}
        return replace(self, prompts=self.prompts * times, identity=identity, repeats=times)

    @property
    def have_truths(self) -> bool:
        """Whether every prompt has a true picture, for the ceiling and the real-against-real floor."""
        return all(prompt.truth is not None for prompt in self.prompts)


def shapes_prompts(count: int, seed: int, split: str = "held_out") -> PromptSet:
    """Captions of `count` scenes of the shapes world; `held_out` has compositions that no generator was trained on.

    Raises UserError if `count` is not positive or there is no such split.
    """
    if count < 1:
        raise UserError(f"prompts.count is {count}; it must be at least 1")
    scenes = [sample_scene(seed, index, split) for index in range(count)]
    prompts = tuple(Prompt(scene.caption, scene.description, TrueScene(scene)) for scene in scenes)
    return PromptSet(prompts, {"kind": "shapes", "seed": seed, "split": split}, SHAPES)


def list_prompts(texts: Sequence[str]) -> PromptSet:
    """The given captions, in order. Captions of the shapes world can be checked."""
    if isinstance(texts, str):
        raise UserError(f"prompts.texts must be a list of captions, found the text '{texts}'; write ['{texts}']")
    return PromptSet(tuple(_prompt(text, f"prompt {i + 1}") for i, text in enumerate(texts)), {"kind": "list"})


def file_prompts(path: str | Path, count: int | None = None) -> PromptSet:
    """The first `count` prompts of a UTF-8 text file with one prompt per line, or all; empty lines are skipped.

    Raises UserError for a line that is not UTF-8 or holds control characters (names the line), and if there are fewer
    than `count` prompts.
    """
    path = user_path(path)
    texts = numbered_lines(content_of(path, "prompt file"), f"prompt file {path}")
    if count is not None and not 1 <= count <= len(texts):
        raise UserError(f"prompt file {path} has {len(texts)} prompts; prompts.count is {count}")
    prompts = tuple(_prompt(text, f"{path}, line {number}") for number, text in texts[:count])
    return PromptSet(prompts, {"kind": "file", "name": path.name})


def content_of(path: Path, what: str) -> bytes:
    """The bytes of a file of prompts. Raises UserError, which calls it `what`, if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from error


def numbered_lines(content: bytes, where: str) -> list[tuple[int, str]]:
    """The lines of a UTF-8 text that are not empty, without white space at their ends, each with its number from 1 on.
    A byte order mark is skipped.

    Raises UserError for a line that is not UTF-8; `where` begins the message.
    """
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [(number, _decode(line, where, number)) for number, line in enumerate(lines, start=1) if line.strip()]


def _decode(line: bytes, where: str, number: int) -> str:
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}, line {number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        ) from error


def _prompt(text: str, where: str) -> Prompt:
    checked_prompt(text, where)
    try:
        return Prompt(text, parse(text))
    except UserError:  # not a caption of the shapes world: no checker for it
        return Prompt(text)
