"""The questions of Saharia et al. (2022), section 4 and appendix C, in their words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """`choices`: the answers as the rater reads them; an answer is an index into them. `sides`: 2 if two pictures or
    sets are compared (the first choice is the left one, the last the right one), 1 if one picture is judged."""

    name: str
    text: str
    choices: tuple[str, ...]
    sides: int
    shows_caption: bool


PHOTOREALISM = Question(
    "photorealism", "Which image is more photorealistic (looks more real)?", ("left", "right"), 2, False
)
CAPTION = Question(
    "caption", "Does the caption accurately describe the above image?", ("yes", "somewhat", "no"), 1, True
)
PREFERENCE = ("I prefer the left set", "I am indifferent", "I prefer the right set")
QUALITY = Question("quality", "Which set of images is of higher quality?", PREFERENCE, 2, True)
ALIGNMENT = Question("alignment", "Which set of images better represents the text caption?", PREFERENCE, 2, True)

QUESTIONS = {question.name: question for question in (PHOTOREALISM, CAPTION, QUALITY, ALIGNMENT)}

CAPTION_SCORES = (100.0, 50.0, 0.0)
"""Points for yes, somewhat and no."""

SET_SIZE = 8
"""Largest number of pictures per prompt in a set of the DrawBench protocol."""
