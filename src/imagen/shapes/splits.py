"""Which compositions training never sees, and the descriptions of each split."""

from enum import StrEnum, unique
from functools import cache

from imagen.errors import UserError
from imagen.randomness import derive_seed
from imagen.shapes.captions import caption
from imagen.shapes.descriptions import Composition, Description, enumerate_descriptions

# One composition in HELD_OUT_ONE_IN is held out. The salt never changes: another salt makes another world. This one is
# balanced: it holds out 3 or 4 of the 30 looks in every arrangement, never more than 2 of them of one colour or shape.
HELD_OUT_ONE_IN = 8
HELD_OUT_SALT = "shapes-world-held-out-382"


@unique
class Split(StrEnum):
    """`train` and `validation` show no held-out composition and differ in their random numbers.

    Every scene of `held_out` shows at least one.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


def as_split(name: str) -> Split:
    """The split of that name. Raises UserError if there is none."""
    try:
        return Split(name)
    except ValueError:
        raise UserError(f"split '{name}' is not one of {', '.join(Split)}") from None


def is_held_out_composition(composition: Composition) -> bool:
    """Whether training never sees this (colour, shape, arrangement)."""
    key = (composition.look.colour.value, composition.look.shape.value, composition.arrangement)
    return derive_seed(HELD_OUT_SALT, *key) % HELD_OUT_ONE_IN == 0


@cache
def is_held_out(description: Description) -> bool:
    """Whether any object of the description is in a held-out composition."""
    return any(is_held_out_composition(composition) for composition in description.compositions)


def all_descriptions(split: str) -> tuple[Description, ...]:
    """Every description of the split, in a fixed order. `train` and `validation` have the same descriptions."""
    return _descriptions(as_split(split) is Split.HELD_OUT)


def all_captions(split: str) -> list[str]:
    """The captions of `all_descriptions(split)`, all different, in the same order."""
    return [caption(description) for description in all_descriptions(split)]


@cache
def descriptions_of_kind(split: Split, kind: str) -> tuple[Description, ...]:
    """The descriptions of one kind in the split."""
    return tuple(description for description in all_descriptions(split) if description.kind == kind)


@cache
def _descriptions(held_out: bool) -> tuple[Description, ...]:
    return tuple(description for description in enumerate_descriptions() if is_held_out(description) is held_out)
