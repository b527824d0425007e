"""The names of OpenMoji's pictures as prompts, with the pictures themselves as the truth."""

from dataclasses import dataclass
from typing import Any

from imagen.data.openmoji.colours import asked_colour
from imagen.data.openmoji.names import Emoji, all_emoji, openmoji_version
from imagen.data.openmoji.rendering import draw
from imagen.data.openmoji.repeats import repeats
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.openmoji.splits import Split, as_split, split_of
from imagen.data.source import Picture
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import Prompt, PromptSet, Truth
from imagen.randomness import derive_seed

ABOUT = ("skin_tone", "colour")
USUAL_COUNT = 512


@dataclass(frozen=True)
class TrueEmoji(Truth):
    """OpenMoji's drawing of an emoji."""

    stem: str

    def draw(self, resolution: int) -> Picture:
        return draw(self.stem, resolution)


def openmoji_prompts(
    split: str, count: int | None, seed: int, about: str | None = None, repeated: bool = False
) -> PromptSet:
    """The names of `count` pictures of a split, in an order shuffled by `seed`: the first ones are a fair sample.

    The place of a name depends on its emoji and the seed alone, so a longer set begins with a shorter one.

    Args:
        split: "train", "validation" or "held_out" (see `imagen.data.openmoji.splits`).
        count: number of prompts; None: 512, or all where there are fewer.
        seed: of the order.
        about: "skin_tone" or "colour": only names that give a skin tone, or things in one colour (few, and all of them
            in the split "train"); None: all names of the split.
        repeated: whether names outside of "train" are taken whose picture is drawn like one that was trained on
            (`imagen.data.openmoji.repeats`).

    Raises:
        UserError: if a package of the extra `pictures` is missing, there is no such split or kind, or the split has
            fewer such names.
    """
    if about is not None and about not in ABOUT:
        raise UserError(f"prompts.about={about} is not one of {', '.join(ABOUT)}, null")
    wanted = as_split(split)
    without = frozenset() if repeated or wanted is Split.TRAIN else repeats()
    chosen = [
        emoji
        for emoji in all_emoji()
        if split_of(emoji) is wanted and emoji.stem not in without and _is_about(emoji, about)
    ]
    count = min(USUAL_COUNT, len(chosen)) if count is None else count
    if not 1 <= count <= len(chosen):
        kind = f" about {about}" if about else ""
        raise UserError(f"OpenMoji ({split}) has {len(chosen)} names{kind}; prompts.count is {count}")
    chosen.sort(key=lambda emoji: derive_seed(seed, "openmoji prompts", emoji.stem))
    identity: dict[str, Any] = {"kind": "openmoji", "version": openmoji_version(), "split": split, "seed": seed}
    optional = {"about": about} if about else {}
    if without:
        optional["without"] = "pictures drawn like a training picture"
    prompts = tuple(Prompt(emoji.name, truth=TrueEmoji(emoji.stem)) for emoji in chosen[:count])
    return PromptSet(prompts, identity | optional, OPENMOJI)


def _is_about(emoji: Emoji, about: str | None) -> bool:
    if about == "skin_tone":
        return bool(emoji.skin_tones)
    return about is None or asked_colour(emoji.name) is not None
