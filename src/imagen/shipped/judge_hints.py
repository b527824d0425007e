"""Auxiliary losses that let a judge learn in minutes: questions about objects and places, for patches and embeddings.

From captions alone a small network learns colours in 5,000 pictures, and "left of" in a hundred times as many. The
heads that answer the questions are dropped after training; a plain CLIPModel remains.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from imagen.shapes import Colour, Description, Pair, Position, Scene, Shape
from imagen.shapes.descriptions import LOOKS, Look
from imagen.tensors import Features

UNKNOWN = -100
"""The class of questions without an answer; cross-entropy ignores it."""

CLEAR_DIFFERENCE = 0.1
"""Smallest difference of two coordinates, in units of the canvas, for one object to count as leftmost or topmost."""

SIDES = 4  # left, right, top, bottom
COLOURS, SHAPES = tuple(Colour), tuple(Shape)

Answers = Int64[Tensor, "batch questions"]


class Hints(nn.Module):
    """The heads. `patches` names the object at each patch. The others read the embedding of a picture or caption: look
    (colour and shape) of the leftmost, rightmost, topmost and lowest object; which looks occur; how many objects."""

    def __init__(self, width: int, projection: int) -> None:
        super().__init__()
        self.patches = nn.Linear(width, len(LOOKS) + 1)
        self.colours = nn.Linear(projection, SIDES * len(COLOURS))
        self.shapes = nn.Linear(projection, SIDES * len(SHAPES))
        self.present = nn.Linear(projection, len(LOOKS))
        self.number = nn.Linear(projection, 5)

    def patch_loss(self, tokens: Float[Tensor, "batch patches width"], scenes: list[Scene]) -> Tensor:
        """Cross-entropy of the object at each patch, read from the network's last token of the patch."""
        side = round(tokens.shape[1] ** 0.5)
        target = torch.from_numpy(np.stack([objects_at_patches(scene, side) for scene in scenes]))
        return functional.cross_entropy(self.patches(tokens).flatten(0, 1), target.flatten())

    def embedding_loss(self, features: Features, sides: Answers, descriptions: list[Description]) -> Tensor:
        """Cross-entropy of all questions about the embeddings of pictures or captions."""
        looks = torch.tensor([[float(look in description.looks) for look in LOOKS] for description in descriptions])
        number = torch.tensor([len(description.looks) for description in descriptions])
        colours, shapes = sides // len(SHAPES), sides % len(SHAPES)
        unknown = sides == UNKNOWN
        return (
            _cross_entropy(self.colours(features), colours.masked_fill(unknown, UNKNOWN))
            + _cross_entropy(self.shapes(features), shapes.masked_fill(unknown, UNKNOWN))
            + 4 * functional.binary_cross_entropy_with_logits(self.present(features), looks)
            + 0.5 * functional.cross_entropy(self.number(features), number)
        )


def objects_at_patches(scene: Scene, side: int) -> np.ndarray:
    """For each patch of a `side` × `side` grid, row by row: 0 if it is empty, else 1 + the number of the look of the
    object whose bounding box contains the centre of the patch."""
    centres = (np.arange(side) + 0.5) / side
    numbers = np.zeros((side, side), dtype=np.int64)
    for item in scene.objects:
        inside = np.abs(centres[:, None] - item.y) < item.radius, np.abs(centres[None] - item.x) < item.radius
        numbers[inside[0] & inside[1]] = 1 + LOOKS.index(item.look)
    return numbers.reshape(-1)


def sides_in_scenes(scenes: list[Scene]) -> Answers:
    """Numbers of the looks of the leftmost, rightmost, topmost and lowest object of each scene; `UNKNOWN` if two are
    close."""
    return torch.tensor([[*_extremes(scene, "x"), *_extremes(scene, "y")] for scene in scenes])


def sides_in_captions(descriptions: list[Description]) -> Answers:
    """The same for captions, as far as they state it."""
    return torch.tensor([_sides_in_caption(description) for description in descriptions])


def _extremes(scene: Scene, axis: str) -> tuple[int, int]:
    items = sorted(scene.objects, key=lambda item: getattr(item, axis))
    first, last = items[0], items[-1]
    close = getattr(last, axis) - getattr(first, axis) < CLEAR_DIFFERENCE
    if first.look != last.look and close:
        return UNKNOWN, UNKNOWN
    return _number(first.look), _number(last.look)


def _sides_in_caption(description: Description) -> list[int]:
    if isinstance(description, Pair):
        return [UNKNOWN] * SIDES
    if not isinstance(description, Position):
        return [_number(description.looks[0])] * SIDES
    ordered = [description.first, description.second][:: -description.relation.sign]
    answers = [UNKNOWN] * SIDES
    start = 2 * description.relation.axis
    answers[start : start + 2] = [_number(look) for look in ordered]
    return answers


def _number(look: Look) -> int:
    """The number of a look: number // 5 is its colour and number % 5 its shape."""
    return COLOURS.index(look.colour) * len(SHAPES) + SHAPES.index(look.shape)


def _cross_entropy(logits: Float[Tensor, "batch logits"], answers: Answers) -> Tensor:
    return functional.cross_entropy(logits.unflatten(1, (SIDES, -1)).flatten(0, 1), answers.flatten())
