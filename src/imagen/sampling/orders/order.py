"""An order: the pictures of many rows, each of which can be made again alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagen.cascade.settings import SamplingSettings
from imagen.files import fingerprint
from imagen.inputs.captions import PromptsOrEmbeddings
from imagen.inputs.edits import Edit
from imagen.sampling.orders.rows import Row
from imagen.text.embeddings import TextEmbeddings


@dataclass(frozen=True)
class Recipe:
    """How a row is sampled: the settings of every stage, and what `TextToImage.describe` says of those that are run."""

    settings: Sequence[SamplingSettings]
    described: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Order:
    """`count` pictures of each of `rows`. Picture i belongs to row i // count.

    Args:
        rows: what each asks for.
        text: a caption or an embedded caption for each row.
        labels: what the grid shows beside each row.
        facts: what the pictures of each row carry about it, besides seed, number and stages.
        recipes: how each row is sampled; rows with equal settings share one object.
        roles: names of the stages that are run.
        count: pictures of each row.
        seed: of the run, for the rows that have none of their own.
        edit: what is done with pictures of the user.
    """

    rows: Sequence[Row]
    text: PromptsOrEmbeddings
    labels: Sequence[str]
    facts: Sequence[dict[str, Any]]
    recipes: Sequence[Recipe]
    roles: Sequence[str]
    count: int
    seed: int
    edit: Edit = field(default_factory=Edit)

    def __len__(self) -> int:
        return len(self.rows) * self.count

    def row_of(self, picture: int) -> Row:
        """The row that a picture belongs to."""
        return self.rows[picture // self.count]

    def recipe_of(self, picture: int) -> Recipe:
        """How a picture is sampled."""
        return self.recipes[picture // self.count]

    def key_of(self, picture: int) -> tuple[int, int]:
        """Seed and number that decide its noise: within the row if the row has a seed, else within the run."""
        own = self.row_of(picture).seed
        return (self.seed, picture) if own is None else (own, picture % self.count)

    def text_of(self, pictures: Sequence[int]) -> PromptsOrEmbeddings:
        """A caption or an embedded caption for each of `pictures`."""
        rows = [picture // self.count for picture in pictures]
        if isinstance(self.text, TextEmbeddings):
            return self.text.select(rows)
        return [self.text[row] for row in rows]

    def facts_of(self, picture: int, stage: int) -> dict[str, Any]:
        """All that is needed to make the picture of stage number `stage` again: what it was made from, and each stage
        that it came through."""
        seed, number = self.key_of(picture)
        described = self.recipe_of(picture).described
        through = [
            {"stage": role, **one, "seed": seed}
            for role, one in zip(self.roles[: stage + 1], described[: stage + 1], strict=True)
        ]
        facts = self.facts[picture // self.count]
        return {**facts, "seed": seed, "picture": number, "stage": self.roles[stage], "stages": through}

    def batches(self, pictures: range, size: int) -> Iterator[list[int]]:
        """`pictures`, at most `size` together. Those of one batch have equal settings; which they are depends on the
        order and on `size` alone."""
        alike: dict[int, list[int]] = {}
        for picture in pictures:
            alike.setdefault(id(self.recipe_of(picture)), []).append(picture)
        for group in alike.values():
            yield from (group[start : start + size] for start in range(0, len(group), size))

    @property
    def identity(self) -> str:
        """Equal for orders of the same pictures."""
        distinct = {id(recipe): list(recipe.described) for recipe in self.recipes}
        numbers = {key: number for number, key in enumerate(distinct)}
        rows = [
            [facts, row.seed, numbers[id(recipe)]]
            for facts, row, recipe in zip(self.facts, self.rows, self.recipes, strict=True)
        ]
        return fingerprint([list(self.roles), self.count, self.seed, list(distinct.values()), rows])
