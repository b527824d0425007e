"""Skin tones and colours are read off OpenMoji's own pictures, and not mistaken for others."""

import numpy as np
import pytest

from imagen.data.openmoji.colours import asked_colour, has_colour, read_colour
from imagen.data.openmoji.names import all_emoji, emoji_named
from imagen.data.openmoji.palette import COLOURS, PALETTE, nearest
from imagen.data.openmoji.rendering import draw
from imagen.data.openmoji.skin import TONES, places_of, read_tones

PEOPLE = [emoji for emoji in all_emoji() if emoji.skin_tones]
COMPOSITIONS = list(dict.fromkeys((emoji.without_tones, len(emoji.skin_tones)) for emoji in PEOPLE))
THINGS = [emoji for emoji in all_emoji() if asked_colour(emoji.name)]
SIDE = 64


def share_right(compositions, side, picture_of):
    """The share of pictures in which every person has the tone of the name, among those where tones can be read.
    `picture_of`: gives the emoji whose drawing is shown in place of each of a composition."""
    right = read = 0
    for composition in compositions:
        group = [emoji for emoji in PEOPLE if (emoji.without_tones, len(emoji.skin_tones)) == composition]
        for place, emoji in enumerate(group):
            tones = read_tones(draw(picture_of(group, place).stem, side), emoji)
            if tones is not None:
                read += 1
                right += tones == emoji.skin_tones
    return right / read


def itself(group, place):
    return group[place]


def another_tone(group, place):
    return next(other for other in group[place:] + group if other.skin_tones != group[place].skin_tones)


@pytest.mark.parametrize("side", [64, 128])
def test_real_pictures_have_the_tones_of_their_names_and_no_others(side):
    some = COMPOSITIONS[:: 12 if side == 64 else 48]
    assert share_right(some, side, itself) >= 0.98
    assert share_right(some, side, another_tone) <= 0.02


def test_a_third_of_the_real_pictures_have_the_tones_of_their_names():
    assert len(PEOPLE) == 2035
    assert share_right(COMPOSITIONS[1::3], SIDE, itself) >= 0.98  # .99 of all


@pytest.mark.parametrize("name", ["woman", "man vampire", "horse racing", "person kneeling"])
def test_hair_and_horses_are_not_taken_for_skin(name):
    """Everything but the skin is taken from the drawing of another tone: brown hair beside light skin, and so on."""
    drawings = {tone: draw(emoji_named(f"{name} {tone} skin tone").stem, SIDE) for tone in TONES}
    emoji = emoji_named(f"{name} light skin tone")
    (place,) = places_of(emoji.without_tones, 1, SIDE)
    skin = (place.weights > 0.5)[..., None]
    for tone, drawing in drawings.items():
        for other in drawings.values():
            assert read_tones(np.where(skin, drawing, other), emoji) == (tone,)


def test_two_people_are_read_one_by_one():
    asked = emoji_named("handshake light skin tone medium-dark skin tone")
    swapped = emoji_named("handshake medium-dark skin tone light skin tone")
    assert read_tones(draw(swapped.stem, SIDE), asked) == ("medium-dark", "light")


@pytest.mark.parametrize("name", ["woman", "people holding hands"])
def test_yellow_people_have_no_tone_and_cats_are_no_people(name):
    asked = emoji_named(f"{name} dark skin tone")
    yellow = read_tones(draw(emoji_named(name).stem, SIDE), asked)
    assert set(yellow) == {"none"}
    assert set(read_tones(np.full((SIDE, SIDE, 3), 255, np.uint8), asked)) == {None}
    assert set(read_tones(draw(emoji_named("blue circle").stem, SIDE), asked)) == {None}


def test_slightly_wrong_colours_a_shift_and_noise_change_no_tone():
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    wrong = []
    for emoji in PEOPLE[::40]:
        drawing = np.roll(draw(emoji.stem, SIDE), (2, -2), axis=(0, 1)).astype(float)
        noisy = gaussian_filter(drawing, (0.5, 0.5, 0)) + generator.normal(0, 8, drawing.shape) + [4, -4, 2]
        tones = read_tones(noisy.clip(0, 255).round().astype(np.uint8), emoji)
        if tones is not None and tones != emoji.skin_tones:
            wrong.append(emoji.name)
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize(
    "name",
    [
        "people wrestling light skin tone dark skin tone",  # OpenMoji draws both in yellow
        "woman",
        "red heart",
    ],
)
def test_what_has_no_tone_to_read_is_not_read(name):
    emoji = emoji_named(name)
    assert read_tones(draw(emoji.stem, SIDE), emoji) is None


@pytest.mark.parametrize("side", [32, 64, 128])
def test_all_things_in_one_colour_have_the_colour_of_their_names_and_no_other(side):
    assert len(THINGS) == 48
    for emoji in THINGS:
        asked, seen = asked_colour(emoji.name), read_colour(draw(emoji.stem, side))
        assert has_colour(seen, asked), emoji.name
        others = [word for word in COLOURS if {word, asked} not in ({asked}, {"blue", "light blue"})]
        assert not any(has_colour(seen, other) for other in others), emoji.name


@pytest.mark.parametrize(
    ("caption", "colour"),
    [
        ("red heart", "red"),
        ("Light Blue heart ", "light blue"),
        ("large orange diamond", "orange"),
        ("white medium-small square", "white"),
        ("red hair", None),
        ("black square button", None),
        ("couple with heart", None),
        ("a red heart", None),
    ],
)
def test_the_colour_of_a_caption(caption, colour):
    assert asked_colour(caption) == colour


def test_nothing_and_noise_have_no_colour_and_no_tone():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert read_colour(np.full((SIDE, SIDE, 3), 255, np.uint8)) is None
    assert read_colour(noise) is None
    assert read_tones(noise, emoji_named("woman dark skin tone")) == (None,)


def test_slightly_wrong_colours_and_noise_change_no_colour():
    generator = np.random.default_rng(0)
    right = 0
    for emoji in THINGS:
        picture = draw(emoji.stem, SIDE) + generator.normal(0, 6, (1, 1, 3)) + generator.normal(0, 10, (SIDE, SIDE, 3))
        seen = read_colour(picture.clip(0, 255).round().astype(np.uint8))
        right += has_colour(seen, asked_colour(emoji.name))
    assert right / len(THINGS) >= 0.95


def test_every_colour_of_the_palette_is_nearest_to_itself():
    colours = np.array([[list(bytes.fromhex(colour[1:])) for colour in PALETTE]], np.uint8)
    assert nearest(colours).tolist() == [list(range(len(PALETTE)))]


def test_the_palette_is_that_of_the_drawings():
    from imagen.data.openmoji.names import svg_folder

    for tone in TONES:
        text = (svg_folder() / f"{emoji_named(f'waving hand {tone} skin tone').stem}.svg").read_text().lower()
        assert PALETTE[TONES.index(tone)] in text
