"""More pictures where they are needed: for neighbouring weights that the first pass did not separate.

A budget is a number of pictures, not of seconds: then the result depends on the configuration alone, not on the speed
of the machine, on how often the run was killed, or on how many processes shared it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagen.checks.arguments import Count, described, fits
from imagen.errors import UserError
from imagen.evaluation.results.neighbours import Comparison, Neighbours, shared
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.plan import Cell

GROWTH = 0.25
"""A round makes the shortest pairs longer by this share, at least by a block: few rounds, little too much."""


@dataclass(frozen=True)
class Budget:
    """How many pictures may be added to the cells after a first pass over `first_pass` of the prompts.

    Raises:
        UserError: unless both are whole numbers of at least 1.
    """

    pictures: int
    first_pass: int

    def __post_init__(self) -> None:
        for name, value in (("budget", self.pictures), ("first_pass", self.first_pass)):
            if not fits(value, Count):
                raise UserError(f"{name}={value} must be {described(Count)}")

    def first_count(self, prompts: int, block_size: int) -> int:
        """The pictures of each cell in the first pass, whole blocks. Raises UserError if none of the `prompts` are
        left."""
        count = -(-self.first_pass // block_size) * block_size
        if count >= prompts:
            raise UserError(
                f"budget={self.pictures}: the first pass takes {count} of the {prompts} prompts, so there are no "
                "further ones; ask for more with prompts.count or for a shorter first_pass"
            )
        return count


@dataclass(frozen=True)
class Spending:
    """The cells with all their pictures, how many were added, and the pairs that are still not separated."""

    cells: Mapping[Cell, Block]
    added: int
    undecided: list[Neighbours]

    def facts(self, budget: Budget) -> dict[str, Any]:
        """For results.json."""
        return {
            "pictures": budget.pictures,
            "added": self.added,
            "pictures_by_cell": {cell.name: len(block) for cell, block in self.cells.items()},
            "not_separated": [[low.name, high.name] for low, high in self.undecided],
        }


def spend(
    budget: Budget,
    cells: Mapping[Cell, Block],
    comparison: Comparison,
    extend: Callable[[list[Cell], int], Mapping[Cell, Block]],
    prompts: int,
    block_size: int,
) -> Spending:
    """Add blocks of further prompts, round by round, to the pairs that are not separated and have the fewest pictures.

    `extend(cells, count)` gives those cells with `count` pictures. Ends when all pairs are separated, none has further
    prompts, or the next block is beyond the budget.
    """
    cells, left = dict(cells), budget.pictures
    while True:
        undecided = comparison.undecided(cells)
        waiting = [pair for pair in undecided if shared(pair, cells) < prompts]
        if not waiting:
            break
        here = min(shared(pair, cells) for pair in waiting)
        shortest = [pair for pair in waiting if shared(pair, cells) == here]
        blocks = max(1, round(GROWTH * here / block_size))
        targets = [min(here + number * block_size, prompts) for number in range(blocks, 0, -1)]
        chosen, target = affordable(shortest, cells, targets, left)
        if not chosen:
            break
        left -= cost(chosen, cells, target)
        cells.update(extend(chosen, target))
    return Spending(cells, budget.pictures - left, undecided)


def affordable(
    pairs: list[Neighbours], cells: Mapping[Cell, Block], targets: Sequence[int], left: int
) -> tuple[list[Cell], int]:
    """The cells to extend, and to how many pictures: as many pairs as `left` pictures suffice for, from the first, and
    for these the first of the (falling) `targets` that it suffices for. No cells when not even one pair can grow."""
    for number in range(len(pairs), 0, -1):
        wanted = list(dict.fromkeys(cell for pair in pairs[:number] for cell in pair))
        for target in targets:
            short = [cell for cell in wanted if len(cells[cell]) < target]
            if cost(short, cells, target) <= left:
                return short, target
    return [], 0


def cost(chosen: list[Cell], cells: Mapping[Cell, Block], target: int) -> int:
    """Pictures to make so that each of `chosen` has `target`."""
    return sum(target - len(cells[cell]) for cell in chosen)
