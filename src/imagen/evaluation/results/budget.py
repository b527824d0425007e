"""Adds pictures to neighbouring weights that the first pass did not separate.

A budget is a number of pictures, not of seconds. So the result depends on the configuration alone, not on the speed of
the machine, on interruptions, or on the number of processes.
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
"""Each round extends the shortest pairs by this share, at least by a block: few rounds, and few pictures too many."""


@dataclass(frozen=True)
class Budget:
    """The number of `pictures` that may be added after a first pass over the first `first_pass` prompts.

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
        """The number of pictures of each cell in the first pass, in whole blocks. Raises UserError if no further
        `prompts` remain."""
        count = -(-self.first_pass // block_size) * block_size
        if count >= prompts:
            raise UserError(
                f"budget={self.pictures}: the first pass uses {count} of {prompts} prompts, so no further ones "
                "remain; use a larger prompts.count or a shorter first_pass"
            )
        return count


@dataclass(frozen=True)
class Spending:
    """The cells with all their pictures, the number of added pictures, and the pairs that are still not separated."""

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
    """Add blocks of further prompts, round by round, to the unseparated pairs with the fewest pictures.

    `extend(cells, count)` returns those cells with `count` pictures. Ends when all pairs are separated, no prompts
    remain, or the next block exceeds the budget.
    """
    cells, left = dict(cells), budget.pictures
    while True:
        undecided = comparison.undecided(cells)
        waiting = [pair for pair in undecided if shared(pair, cells) < prompts]
        if not waiting:
            break
        fewest = min(shared(pair, cells) for pair in waiting)
        shortest = [pair for pair in waiting if shared(pair, cells) == fewest]
        blocks = max(1, round(GROWTH * fewest / block_size))
        targets = [min(fewest + number * block_size, prompts) for number in range(blocks, 0, -1)]
        chosen, target = affordable(shortest, cells, targets, left)
        if not chosen:
            break
        left -= cost(chosen, cells, target)
        cells.update(extend(chosen, target))
    return Spending(cells, budget.pictures - left, undecided)


def affordable(
    pairs: list[Neighbours], cells: Mapping[Cell, Block], targets: Sequence[int], left: int
) -> tuple[list[Cell], int]:
    """The cells to extend, and their new number of pictures: as many pairs as `left` pictures allow, from the first,
    and for them the first affordable one of the descending `targets`. No cells if not even one pair can grow."""
    for number in range(len(pairs), 0, -1):
        wanted = list(dict.fromkeys(cell for pair in pairs[:number] for cell in pair))
        for target in targets:
            short = [cell for cell in wanted if len(cells[cell]) < target]
            if cost(short, cells, target) <= left:
                return short, target
    return [], 0


def cost(chosen: list[Cell], cells: Mapping[Cell, Block], target: int) -> int:
    """Number of pictures to make so that each of `chosen` has `target`."""
    return sum(target - len(cells[cell]) for cell in chosen)
