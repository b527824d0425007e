"""Whether pictures in OpenMoji's style have the skin tones and the colours that their captions ask for."""

from collections.abc import Mapping, Sequence
from typing import Any

from imagen.data.openmoji.colours import asked_colour, has_colour, read_colour
from imagen.data.openmoji.names import emoji_named, openmoji_version
from imagen.data.openmoji.skin import read_tones
from imagen.data.source import Picture
from imagen.evaluation.judges.checker import Checker, Verdict
from imagen.evaluation.prompts.prompt_set import Prompt
from imagen.tensors import Pixels

VERSION = 1
"""Part of every fingerprint. Increase it when verdicts of the same pictures may have changed."""

SKIN_TONE, COLOUR = "skin_tone", "colour"


class OpenMojiChecker(Checker):
    """Reads the skin tone of each person, and the colour of things in one colour, off the pixels.

    A skin tone is right if every person of the caption has the asked one, in the order of the caption. Captions that
    are neither names of OpenMoji's people with a skin tone nor things in one colour ("red heart") get None.

    Raises UserError if a package of the extra `pictures` is missing.
    """

    categories = (SKIN_TONE, COLOUR)

    def __init__(self) -> None:
        self.identity: Mapping[str, Any] = {"checker": "openmoji", "version": VERSION, "openmoji": openmoji_version()}

    def __call__(self, pixels: Pixels, prompts: Sequence[Prompt]) -> list[Verdict | None]:
        return [self._verdict(picture, prompt.text) for picture, prompt in zip(pixels.numpy(), prompts, strict=True)]

    def _verdict(self, picture: Picture, caption: str) -> Verdict | None:
        if colour := asked_colour(caption):
            seen = read_colour(picture)
            return _verdict(COLOUR, has_colour(seen, colour), abstained=seen is None)
        emoji = emoji_named(caption)
        tones = read_tones(picture, emoji) if emoji else None
        if emoji is None or tones is None:
            return None
        return _verdict(SKIN_TONE, tones == emoji.skin_tones, abstained=None in tones)


def _verdict(category: str, right: bool, abstained: bool) -> Verdict:
    return {"correct": right, "abstained": abstained, "parts": {category: right}, "categories": {category: right}}
