"""Outlines: lines where the objects of a scene end, and nothing else of it."""

from dataclasses import replace

import numpy as np
import pytest

from imagen.shapes import Colour, draw, outline, sample_scene


def contrast(picture: np.ndarray) -> np.ndarray:
    """For each inner pixel, how far it differs from its right and lower neighbours."""
    picture = picture.astype(int)
    right, lower = np.abs(picture[:-1, 1:] - picture[:-1, :-1]), np.abs(picture[1:, :-1] - picture[:-1, :-1])
    return (right + lower).max(axis=-1)


@pytest.mark.parametrize("resolution", [16, 32, 64, 200])
def test_lines_are_black_on_white_and_lie_where_objects_end(resolution):
    for row in range(20):
        scene = sample_scene(0, row, "train")
        lines = outline(scene, resolution)
        assert lines.shape == (resolution, resolution, 3)
        assert (lines == lines[:, :, :1]).all()
        assert lines.max() == 255
        assert lines.min() < 128
        edges = contrast(draw(scene, resolution)) > 60
        grey = lines[:, :, 0]
        darkest = np.minimum(grey[:-1, :-1], np.minimum(grey[1:, :-1], grey[:-1, 1:]))
        assert (darkest[edges] < 255).all()
        assert (lines < 255).mean() < 0.55


def test_neither_colours_nor_background_are_told():
    scene = sample_scene(0, 0, "train")
    other = replace(
        scene,
        background_rgb=(1, 2, 3),
        objects=tuple(replace(item, colour=Colour.RED, rgb=(200, 0, 0)) for item in scene.objects),
    )
    assert np.array_equal(outline(scene, 32), outline(other, 32))
    assert not np.array_equal(outline(scene, 32), outline(replace(scene, objects=scene.objects[1:]), 32))
