"""Scenes and drawing."""

from collections import Counter as Tally

import numpy as np
import pytest

from imagen.errors import UserError
from imagen.shapes import (
    KIND_PROPORTIONS,
    Background,
    Colour,
    Look,
    Position,
    Scene,
    Shape,
    ShapeObject,
    Single,
    Size,
    Split,
    draw,
    is_held_out,
    sample_scene,
)
from imagen.shapes.scenes import POSITION_DISTANCE, POSITION_JITTER, SIZE_RADIUS

SCENES = [sample_scene(3, index, split) for split in Split for index in range(400)]
AREA = {  # of a shape of radius 1
    Shape.CIRCLE: np.pi,
    Shape.SQUARE: (2 * 0.88) ** 2,
    Shape.TRIANGLE: 3**0.5 * 0.98**2,
    Shape.CROSS: 4 * 0.98 * 0.64 - 0.64**2,
    Shape.RING: np.pi * (1 - 0.25),
}
HALF_EXTENT = {  # half of the width and of the height of its bounding box
    Shape.CIRCLE: (1.0, 1.0),
    Shape.SQUARE: (0.88, 0.88),
    Shape.TRIANGLE: (0.98, 0.98 * 3**0.5 / 2),
    Shape.CROSS: (0.98, 0.98),
    Shape.RING: (1.0, 1.0),
}


def one_object(shape: Shape, x: float = 0.5, y: float = 0.5, radius: float = 0.3) -> Scene:
    """White on black, so that a pixel's level is its coverage."""
    description = Single(Look(Colour.RED, shape), Background.BLACK)
    return Scene(description, (ShapeObject(shape, Colour.RED, x, y, radius, (255, 255, 255)),), (0, 0, 0))


def box(item: ShapeObject) -> tuple[float, float, float, float]:
    width, height = (half * item.radius for half in HALF_EXTENT[item.shape])
    return item.x - width, item.y - height, item.x + width, item.y + height


def test_a_scene_is_a_function_of_seed_index_and_split():
    assert sample_scene(3, 17, "train") == SCENES[17]
    others = [sample_scene(4, 17, "train"), sample_scene(3, 18, "train"), sample_scene(3, 17, "validation")]
    assert all(other != SCENES[17] for other in others)


def test_scenes_show_held_out_compositions_exactly_in_the_held_out_split():
    for split in Split:
        scenes = [sample_scene(5, index, split) for index in range(200)]
        assert all(is_held_out(scene.description) is (split is Split.HELD_OUT) for scene in scenes)


def test_kinds_come_in_their_proportions():
    tally = Tally(scene.description.kind for scene in SCENES)
    for kind, proportion in KIND_PROPORTIONS.items():
        spread = 4 * (proportion * (1 - proportion) / len(SCENES)) ** 0.5
        assert abs(tally[kind] / len(SCENES) - proportion) < spread


def test_objects_lie_inside_the_canvas_and_never_overlap():
    for scene in SCENES:
        boxes = [box(item) for item in scene.objects]
        assert all(min(left, top) > 0.01 and max(right, bottom) < 0.99 for left, top, right, bottom in boxes)
        for index, (left, top, right, bottom) in enumerate(boxes):
            for other in boxes[:index]:
                assert max(left - other[2], other[0] - right, top - other[3], other[1] - bottom) > 0.03


def test_objects_have_the_looks_of_the_description():
    assert all(tuple(item.look for item in scene.objects) == scene.description.looks for scene in SCENES)


def test_the_stated_relation_holds_with_room_to_spare():
    scenes = [scene for scene in SCENES if isinstance(scene.description, Position)]
    for scene in scenes:
        first, second = scene.objects
        offset = (first.x - second.x, first.y - second.y)
        relation = scene.description.relation
        assert offset[relation.axis] * relation.sign >= POSITION_DISTANCE - 1e-9 >= 0.42
        assert abs(offset[1 - relation.axis]) <= POSITION_JITTER
    assert {scene.description.relation.name for scene in scenes} == {"LEFT", "RIGHT", "ABOVE", "BELOW"}


def test_the_stated_size_holds():
    scenes = [scene for scene in SCENES if isinstance(scene.description, Single)]
    for scene in scenes:
        low, high = SIZE_RADIUS[scene.description.size]
        assert low <= scene.objects[0].radius <= high
    assert {scene.description.size for scene in scenes} == {None, Size.SMALL, Size.LARGE}


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("resolution", [16, 64, 256])
def test_a_drawn_shape_has_its_exact_area_and_bounding_box(shape, resolution):
    cover = draw(one_object(shape, x=0.47, y=0.53), resolution)[..., 0] / 255
    pixel = 1 / resolution
    # Distance coverage is off by at most a few hundredths of a pixel along the outline.
    assert cover.mean() == pytest.approx(AREA[shape] * 0.3**2, abs=0.03 * pixel)
    width, height = (0.3 * half for half in HALF_EXTENT[shape])
    columns, rows = np.flatnonzero(cover.max(0) > 0.5), np.flatnonzero(cover.max(1) > 0.5)
    seen = [columns[0] * pixel, (columns[-1] + 1) * pixel, rows[0] * pixel, (rows[-1] + 1) * pixel]
    # The apex of the triangle is thinner than a pixel for about one pixel.
    assert seen == pytest.approx([0.47 - width, 0.47 + width, 0.53 - height, 0.53 + height], abs=1.5 * pixel)


def test_the_triangle_stands_on_its_base_and_the_ring_has_a_hole():
    triangle = draw(one_object(Shape.TRIANGLE), 64)[..., 0] > 127
    assert triangle[:32].sum() < 0.5 * triangle[32:].sum()
    ring = draw(one_object(Shape.RING), 64)[..., 0]
    assert ring[32, 32] == 0
    assert ring[32, 32 + 14] == 255


def test_resolutions_agree():
    """A large picture averaged down is the small picture, to the accuracy of distance coverage at corners."""
    for scene in SCENES[:60]:
        small = draw(scene, 64).astype(float)
        large = draw(scene, 256).reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(small - large).mean() < 0.4
        assert np.abs(small - large).max() < 64


def test_flat_regions_have_the_colours_of_the_scene():
    for scene in SCENES[:60]:
        image = draw(scene, 64)
        assert tuple(image[0, 0].tolist()) == scene.background_rgb
        assert all((image == item.rgb).all(axis=2).any() for item in scene.objects)


@pytest.mark.parametrize("resolution", [0, 7, 2049])
def test_a_resolution_out_of_range_is_refused(resolution):
    with pytest.raises(UserError, match=f"resolution {resolution} "):
        draw(SCENES[0], resolution)


@pytest.mark.parametrize("resolution", [8, 33, 2048])
def test_any_resolution_in_range_can_be_drawn(resolution):
    image = draw(SCENES[0], resolution)
    assert image.shape == (resolution, resolution, 3)
    assert image.dtype == np.uint8
