"""Which pictures training never sees.

A composition is a person or hand, what they do, their gender and their skin tones: "woman astronaut dark skin tone".
Some are held out, chosen by a hash of their code points alone, so a later release that adds pictures moves none.
Everything without a skin tone is trained on: nobody could draw "garlic" without having seen one.
"""

from enum import StrEnum, unique

from imagen.data.openmoji.names import Emoji
from imagen.errors import UserError
from imagen.randomness import derive_seed

HELD_OUT_PERCENT = 27
VALIDATION_PERCENT = 5
SALT = "openmoji-held-out"
"""Never changes: another salt makes another split."""


@unique
class Split(StrEnum):
    """`held_out` and `validation` are compositions that `train` does not have. Choose by `validation`, report
    `held_out`."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


def as_split(name: str) -> Split:
    """The split of that name. Raises UserError if there is none."""
    try:
        return Split(name)
    except ValueError:
        raise UserError(f"split={name} of OpenMoji is not one of {', '.join(Split)}") from None


def split_of(emoji: Emoji) -> Split:
    """The one split that an emoji belongs to."""
    if not emoji.skin_tones:
        return Split.TRAIN
    draw = derive_seed(SALT, emoji.stem) % 100
    if draw < HELD_OUT_PERCENT:
        return Split.HELD_OUT
    return Split.VALIDATION if draw < HELD_OUT_PERCENT + VALIDATION_PERCENT else Split.TRAIN
