"""The page of pictures of benchmarks/edits.py: a strip for each thing that one does with a trained cascade.

Nothing is selected: noise and scenes are numbers 0, 1, 2 of seed 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from imagen.data.pixels import from_uint8, to_uint8
from imagen.diffusion.conditioning import resize
from imagen.pictures import INK, PAPER
from imagen.sampling.text_to_image import TextToImage
from imagen.shapes import arrange, draw, parse, sample_scene
from imagen.shapes.vocabulary import BACKGROUND_RGB
from imagen.tensors import Size

GIVEN = "a red circle above a blue square on a white background"
ANEW = "a red circle above a green triangle on a white background"
OTHER = "a green triangle above a blue square on a white background"
PLAIN = "a red circle on a white background"
NEGATIVE = "a large red circle on a white background"
BESIDE = "a yellow cross to the left of a blue ring on a black background"
STRENGTHS = (0.0, 0.3, 0.6, 0.8, 1.0)

WIDTH, GAP, TITLE, LABEL = 798, 6, 20, 18
"""Of the page, in pixels: as narrow as the text of the documentation."""
FRAME = (190, 190, 190)
"""Colour of a line around each picture, since many have a white background."""

Cell = tuple[str, Tensor]
"""A label and a picture (3, height, width) in [-1, 1]."""


@dataclass(frozen=True)
class Page:
    """The strips of a cascade of two stages.

    Args:
        model: the cascade.
        sizes: height and width of the pictures of the last strip.
        steps: of the samplers; None: their own.
    """

    model: TextToImage
    sizes: Sequence[Size]
    steps: int | None = None

    def draw(self) -> Image.Image:
        """All strips, one under the other."""
        strips = [self.anew(), self.changed(), self.enlarged(), self.tiled(), self.steered(), self.other_sizes()]
        sheet = Image.new("RGB", (WIDTH, sum(one.height for one in strips)), PAPER)
        top = 0
        for one in strips:
            sheet.paste(one, (0, top))
            top += one.height
        return sheet

    def anew(self) -> Image.Image:
        given = scene_of(GIVEN, 0, self._side)
        mask = torch.zeros(self._side, self._side, dtype=torch.bool)
        mask[self._side // 2 :] = True
        made = self._make(ANEW, count=4, picture=given, mask=mask)
        cells = [("given", given), ("mask", mask.float().expand(3, -1, -1) * 2 - 1)]
        cells += [(f"noise {i}", one) for i, one in enumerate(made)]
        return strip(f"Draw a part anew: {ANEW}", cells)

    def changed(self) -> Image.Image:
        given = scene_of(GIVEN, 0, self._side)
        cells = [(f"strength {one:g}", self._make(OTHER, picture=given, strength=one)[0]) for one in STRENGTHS]
        return strip(f"Change the whole picture: {OTHER}", cells)

    def enlarged(self) -> Image.Image:
        cells: list[Cell] = []
        for number in range(2):
            scene = sample_scene(0, number, "held_out")
            true = from_uint8(draw(scene, self._side)[None])[0]
            small = resize(true[None], self._small_side)[0]
            made = self._make(scene.caption, picture=small, start_at=self.model.roles[-1])[0]
            cells += [("given", small), ("enlarged", made), (f"drawn at {self._side}", true)]
        return strip("Enlarge your own picture, beside the same scene drawn large", cells)

    def tiled(self) -> Image.Image:
        wide = torch.cat([scene_of(ANEW, number, self._small_side) for number in range(3)], dim=2)
        made = self._make(ANEW, picture=wide, start_at=self.model.roles[-1], tile_overlap=0.25)[0]
        cells = [(sized(one), one) for one in (wide, made)]
        return strip("Enlarge a larger one, in tiles that share a quarter of their side", cells)

    def steered(self) -> Image.Image:
        plain, negative = (self._make(PLAIN, count=3, negative_prompt=words) for words in (None, NEGATIVE))
        cells: list[Cell] = []
        for i in range(3):
            cells += [(f"plain, noise {i}", plain[i]), (f"negative, noise {i}", negative[i])]
        return strip(f"Steer away from words: {PLAIN}; negative prompt: {NEGATIVE}", cells)

    def other_sizes(self) -> Image.Image:
        made = [self._make(BESIDE, size=size)[0] for size in self.sizes]
        return strip(f"Other sizes: {BESIDE}", [(sized(one), one) for one in made])

    @property
    def _side(self) -> int:
        return self.model.stages[-1].resolution

    @property
    def _small_side(self) -> int:
        return self.model.stages[0].resolution

    def _make(self, caption: str, **options: Any) -> Tensor:
        made = self.model.images([caption], steps=self.steps, **options)
        assert isinstance(made, Tensor)
        return made


def scene_of(caption: str, number: int, side: int) -> Tensor:
    """A true picture (3, side, side) of the caption, on a background of exactly its colour."""
    scene = arrange(parse(caption), np.random.default_rng(number))
    plain = replace(scene, background_rgb=BACKGROUND_RGB[scene.description.background])
    return from_uint8(draw(plain, side)[None])[0]


def sized(picture: Tensor) -> str:
    """Height and width; the font has no ×."""
    return f"{picture.shape[-2]} x {picture.shape[-1]}"


def strip(title: str, cells: Sequence[Cell]) -> Image.Image:
    """Pictures side by side under a title, a label under each."""
    font, small = ImageFont.load_default(size=14), ImageFont.load_default(size=12)
    pictures = [magnified(picture) for _, picture in cells]
    height = max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (WIDTH, TITLE + height + LABEL + GAP), PAPER)
    pen, left = ImageDraw.Draw(sheet), 0
    pen.text((0, TITLE // 2), title, INK, font=font, anchor="lm")
    for (label, _), picture in zip(cells, pictures, strict=True):
        sheet.paste(picture, (left, TITLE))
        pen.rectangle((left, TITLE, left + picture.width - 1, TITLE + picture.height - 1), outline=FRAME)
        pen.text((left + picture.width // 2, TITLE + height + LABEL // 2), label, INK, font=small, anchor="mm")
        left += picture.width + GAP
    return sheet


def magnified(picture: Tensor) -> Image.Image:
    """The picture, twice as large; one of a base stage eight times, so that it is as high as what is made from it."""
    pixels = to_uint8(picture[None])[0]
    times = 2 if pixels.shape[0] > 16 else 8
    return Image.fromarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
