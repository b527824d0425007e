"""How far OpenMoji's checker can be trusted: against every real picture, pictures of other tones, and altered ones.

python benchmarks/openmoji_checker.py 64 128    # sizes in pixels; two minutes each on one core
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from imagen.data.openmoji.colours import asked_colour, has_colour, read_colour
from imagen.data.openmoji.names import Emoji, all_emoji
from imagen.data.openmoji.palette import COLOURS as WORDS
from imagen.data.openmoji.palette import nearest
from imagen.data.openmoji.rendering import draw
from imagen.data.openmoji.skin import COLOURS, TONES, places_of, read_tones
from imagen.data.source import Picture

SEEN = (*TONES, "none", None)
Pictures = dict[Emoji, Picture]


def main(sides: list[int]) -> None:
    for side in sides:
        print(f"\n{side} × {side}")
        people = {emoji: draw(emoji.stem, side) for emoji in all_emoji() if emoji.skin_tones}
        things = {emoji: draw(emoji.stem, side) for emoji in all_emoji() if asked_colour(emoji.name)}
        tones_of_real_pictures(people)
        tones_of_other_pictures(people)
        area_alone(people)
        skin_of_one_and_hair_of_another(people, side)
        altered(people, side)
        colours(things)


def tones_of_real_pictures(people: Pictures) -> None:
    confusion: Counter[tuple[str, str | None]] = Counter()
    right = read = 0
    for emoji, picture in people.items():
        tones = read_tones(picture, emoji)
        if tones is not None:
            read += 1
            right += tones == emoji.skin_tones
            confusion.update(zip(emoji.skin_tones, tones, strict=True))
    print(f"real pictures: {right} of {read} right, {len(people) - read} cannot be read")
    print_confusion(confusion)


def tones_of_other_pictures(people: Pictures) -> None:
    wrong = read = 0
    for group in compositions(people):
        for emoji, other in zip(group, group[1:] + group[:1], strict=True):
            if emoji.skin_tones != other.skin_tones and (tones := read_tones(people[other], emoji)) is not None:
                read += 1
                wrong += tones != emoji.skin_tones
    print(f"pictures of another tone: {wrong} of {read} wrong, as they should be")


def area_alone(people: Pictures) -> None:
    """What one would do first: the skin colour with the largest area."""
    confusion: Counter[tuple[str, str | None]] = Counter()
    for emoji, picture in people.items():
        if len(emoji.skin_tones) == 1:
            seen = nearest(picture)
            areas = [(seen == colour).sum() for colour in COLOURS]
            confusion[emoji.skin_tones[0], SEEN[int(np.argmax(areas))]] += 1
    print(f"for comparison, the largest area: {sum(confusion[t, t] for t in TONES)} of {confusion.total()} right")
    print_confusion(confusion)


def skin_of_one_and_hair_of_another(people: Pictures, side: int) -> None:
    right = read = 0
    for group in compositions(people):
        places = places_of(group[0].without_tones, 1, side) if len(group[0].skin_tones) == 1 else ()
        for place in places:
            skin = (place.weights > 0.5)[..., None]
            for emoji in group:
                for other in group:
                    read += 1
                    right += read_tones(np.where(skin, people[emoji], people[other]), emoji) == emoji.skin_tones
    print(f"skin of one tone, everything else of another: {right} of {read} right")


def altered(people: Pictures, side: int) -> None:
    generator = np.random.default_rng(0)
    step = round(0.03 * side)
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "shifted by 3 %": lambda p: shift(p, (*generator.choice([-step, step], 2), 0), order=0, cval=255),
        "blurred by 0.6 pixels": lambda p: gaussian_filter(p, (0.6, 0.6, 0)),
        "colour cast of 8 of 255": lambda p: p + generator.normal(0, 8, (1, 1, 3)),
        "noise of 12 of 255": lambda p: p + generator.normal(0, 12, p.shape),
    }

    def every(picture: np.ndarray) -> np.ndarray:
        for change in list(changes.values()):
            picture = change(picture)
        return picture

    for name, change in [*changes.items(), ("all four", every)]:
        answers = []
        for emoji in list(people)[::5]:
            picture = change(people[emoji].astype(float)).clip(0, 255).round().astype(np.uint8)
            tones = read_tones(picture, emoji)
            if tones is not None:
                answers.append((tones == emoji.skin_tones, None in tones))
        right, abstained = (sum(column) for column in zip(*answers, strict=True))
        print(f"{name}: {right} of {len(answers)} right, {abstained} not recognised")


def colours(things: Pictures) -> None:
    right = wrong = others = 0
    for emoji, picture in things.items():
        asked, seen = asked_colour(emoji.name), read_colour(picture)
        right += has_colour(seen, asked or "")
        swapped = [word for word in WORDS if word != asked and {word, asked} != {"blue", "light blue"}]
        others += len(swapped)
        wrong += sum(not has_colour(seen, word) for word in swapped)
    print(f"things in one colour: {right} of {len(things)} right; asked for another colour, {wrong} of {others} wrong")


def compositions(people: Pictures) -> list[list[Emoji]]:
    """The emoji that differ in their tones alone."""
    groups: dict[tuple[str, int], list[Emoji]] = defaultdict(list)
    for emoji in people:
        groups[emoji.without_tones, len(emoji.skin_tones)].append(emoji)
    return list(groups.values())


def print_confusion(confusion: Counter[tuple[str, str | None]]) -> None:
    print("  asked, seen:", *(seen or "not recognised" for seen in SEEN), sep="  ")
    for tone in TONES:
        print(f"  {tone}:", *(confusion[tone, seen] for seen in SEEN), sep="  ")


if __name__ == "__main__":
    main([int(side) for side in sys.argv[1:]] or [64])
