"""The checker confirms true captions, rejects wrong ones, and abstains from what it does not recognise."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from imagen.errors import UserError
from imagen.shapes import (
    CATEGORIES,
    Background,
    Colour,
    Counting,
    Look,
    Pair,
    Position,
    Relation,
    Scene,
    Shape,
    ShapeObject,
    Single,
    Size,
    Split,
    arrange,
    categories,
    check,
    draw,
    observe,
    sample_scene,
)
from imagen.shapes.vocabulary import BACKGROUND_RGB, COLOUR_RGB

RED_CIRCLE = Look(Colour.RED, Shape.CIRCLE)
BLUE_SQUARE = Look(Colour.BLUE, Shape.SQUARE)
GREEN_RING = Look(Colour.GREEN, Shape.RING)
PAIR = Pair(RED_CIRCLE, BLUE_SQUARE, Background.WHITE)
LEFT = Position(RED_CIRCLE, Relation.LEFT, BLUE_SQUARE, Background.GREY)


def accuracy(scenes: list[Scene], picture: Callable[[Scene], np.ndarray]) -> float:
    return float(np.mean([check(picture(scene), scene.description).all_correct for scene in scenes]))


def worn(image: np.ndarray, rng: np.random.Generator, sigma: float = 0.7, noise: float = 4.0) -> np.ndarray:
    blurred = ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))
    return np.clip(blurred + rng.normal(0, noise, blurred.shape), 0, 255).round().astype(np.uint8)


def scene_of(description, *places, radius: float = 0.17) -> Scene:
    objects = tuple(
        ShapeObject(look.shape, look.colour, x, y, radius, COLOUR_RGB[look.colour])
        for look, (x, y) in zip(description.looks, places, strict=True)
    )
    return Scene(description, objects, BACKGROUND_RGB[description.background])


def by_hand(inside: Callable[[np.ndarray, np.ndarray], np.ndarray], rgb: tuple[int, int, int]) -> np.ndarray:
    """A 64-pixel picture on white of the points where `inside(x, y)`, centre (0, 0), 4 x 4 samples a pixel."""
    axis = (np.arange(256) + 0.5) / 256 - 0.5
    cover = inside(axis[None, :], axis[:, None]).astype(float).reshape(64, 4, 64, 4).mean((1, 3))[..., None]
    return (243 * (1 - cover) + np.array(rgb) * cover).round().astype(np.uint8)


@pytest.mark.parametrize("split", Split)
def test_ground_truth_is_all_correct(split):
    scenes = [sample_scene(11, index, split) for index in range(100)]
    assert accuracy(scenes, lambda scene: draw(scene, 64)) >= 0.99


def test_blur_and_noise_change_little():
    rng = np.random.default_rng(0)
    scenes = [sample_scene(12, index, "train") for index in range(100)]
    assert accuracy(scenes, lambda scene: worn(draw(scene, 64), rng)) >= 0.97


@pytest.mark.parametrize(("resolution", "least"), [(16, 0.85), (32, 0.99), (96, 0.99), (256, 0.99)])
def test_other_resolutions_are_read_as_well(resolution, least):
    scenes = [sample_scene(13, index, "train") for index in range(50)]
    assert accuracy(scenes, lambda scene: draw(scene, resolution)) >= least


def test_objects_that_are_not_recognised_stand_in_no_relation_and_have_no_size():
    rng = np.random.default_rng(0)
    scenes = [sample_scene(12, index, "train") for index in range(60)]
    verdicts = [check(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), scene.description) for scene in scenes]
    stated = [verdict.parts[part] for verdict in verdicts for part in ("relation", "size") if part in verdict.parts]
    assert len(stated) > 20
    assert np.mean(stated) < 0.1


def test_nothing_is_read_into_noise_or_an_empty_picture():
    rng = np.random.default_rng(1)
    scenes = [sample_scene(14, index, "train") for index in range(30)]
    assert accuracy(scenes, lambda _: rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) == 0
    assert accuracy(scenes, lambda _: rng.normal(128, 30, (64, 64, 3)).clip(0, 255).astype(np.uint8)) == 0
    assert accuracy(scenes, lambda scene: np.full((64, 64, 3), scene.background_rgb, np.uint8)) == 0


def test_pictures_of_other_captions_are_wrong():
    scenes = [sample_scene(15, index, "train") for index in range(120)]
    right = [
        check(draw(scene, 64), other.description).all_correct
        for scene, other in pairwise(scenes)
        if scene.description != other.description
    ]
    assert np.mean(right) <= 0.01


def test_a_verdict_has_exactly_the_parts_that_the_caption_states():
    always = {"background", "objects", "colours", "shapes"}
    rng = np.random.default_rng(2)
    stated = {
        Single(RED_CIRCLE, Background.WHITE): set(),
        Single(RED_CIRCLE, Background.WHITE, Size.SMALL): {"size"},
        Counting(3, RED_CIRCLE, Background.WHITE): set(),
        PAIR: set(),
        LEFT: {"relation"},
    }
    for description, extra in stated.items():
        verdict = check(draw(arrange(description, rng), 64), description)
        assert set(verdict.parts) == always | extra
        assert verdict.all_correct
        assert verdict.kind == description.kind
        assert verdict.abstained == ()


def test_swapped_colours_are_an_error_of_colours_alone():
    swapped = Pair(Look(Colour.BLUE, Shape.CIRCLE), Look(Colour.RED, Shape.SQUARE), Background.WHITE)
    parts = check(draw(scene_of(swapped, (0.25, 0.3), (0.7, 0.7)), 64), PAIR).parts
    assert parts == {"background": True, "objects": True, "colours": False, "shapes": True}


def test_a_reversed_relation_is_an_error_of_the_relation_alone():
    parts = check(draw(scene_of(LEFT, (0.75, 0.5), (0.25, 0.5)), 64), LEFT).parts
    assert [name for name, right in parts.items() if not right] == ["relation"]


def test_a_relation_along_the_other_axis_does_not_hold():
    parts = check(draw(scene_of(LEFT, (0.35, 0.2), (0.6, 0.8)), 64), LEFT).parts
    assert [name for name, right in parts.items() if not right] == ["relation"]


def test_one_wrong_part_is_named():
    scene = scene_of(LEFT, (0.25, 0.5), (0.75, 0.5))
    first, second = scene.objects
    wrong = {
        "background": replace(scene, background_rgb=BACKGROUND_RGB[Background.BLACK]),
        "colours": replace(scene, objects=(replace(first, rgb=COLOUR_RGB[Colour.PURPLE]), second)),
        "shapes": replace(scene, objects=(replace(first, shape=Shape.RING), second)),
        "objects": replace(scene, objects=(first, second, replace(first, x=0.25, y=0.1, radius=0.08))),
    }
    for part, changed in wrong.items():
        parts = check(draw(changed, 64), LEFT).parts
        assert [name for name, right in parts.items() if not right] == [part]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_one_object_too_few_or_too_many_is_a_miscount(number):
    rng = np.random.default_rng(number)
    for shown in {2, 3, 4} - {number}:
        image = draw(arrange(Counting(shown, GREEN_RING, Background.BLACK), rng), 64)
        assert not check(image, Counting(number, GREEN_RING, Background.BLACK)).parts["objects"]


@pytest.mark.parametrize(("radius", "small", "large"), [(0.16, True, False), (0.24, False, False), (0.34, False, True)])
def test_size_is_read_from_the_picture_and_the_middle_is_neither(radius, small, large):
    for shape in Shape:
        look = Look(Colour.BLUE, shape)
        image = draw(scene_of(Single(look, Background.WHITE), (0.5, 0.5), radius=radius), 64)
        assert check(image, Single(look, Background.WHITE, Size.SMALL)).parts["size"] is small
        assert check(image, Single(look, Background.WHITE, Size.LARGE)).parts["size"] is large


def test_touching_objects_of_different_colours_are_two():
    image = draw(scene_of(PAIR, (0.30, 0.5), (0.61, 0.5)), 64)  # 0.01 of overlap
    assert check(image, PAIR).all_correct


def test_a_faint_extra_object_is_counted():
    image = draw(scene_of(LEFT, (0.25, 0.3), (0.75, 0.3)), 64)
    assert check(image, LEFT).all_correct
    image[48:56, 40:52] += np.uint8(45)
    parts = check(image, LEFT).parts
    assert [name for name, right in parts.items() if not right] == ["objects"]


def test_a_speck_is_not_an_object():
    image = draw(scene_of(LEFT, (0.25, 0.3), (0.75, 0.3)), 64)
    image[50:53, 40:43] = (250, 0, 0)
    assert check(image, LEFT).all_correct


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(lambda x, y: np.abs(x) + np.abs(y) < 0.22, id="diamond"),
        pytest.param(lambda x, y: (x / 0.27) ** 2 + (y / 0.15) ** 2 < 1, id="ellipse"),
        pytest.param(lambda x, y: (y > -0.15) & (np.abs(x) < 0.6 * (0.15 - y)), id="triangle upside down"),
        pytest.param(lambda x, y: np.abs(x / 0.2) ** 4 + np.abs(y / 0.2) ** 4 < 1, id="between square and circle"),
        pytest.param(lambda x, y: (np.hypot(x, y) < 0.2) & (x > 0), id="half a disc"),
    ],
)
def test_an_unknown_shape_is_not_guessed(inside):
    image = by_hand(inside, COLOUR_RGB[Colour.RED])
    (item,) = observe(image).objects
    assert item.shape is None
    assert item.colour is Colour.RED
    verdict = check(image, Single(RED_CIRCLE, Background.WHITE))
    assert verdict.abstained == ("shapes",)
    assert not verdict.all_correct


@pytest.mark.parametrize("rgb", [(0, 200, 200), (120, 70, 30), (255, 130, 170), (20, 30, 90)])
def test_an_unknown_colour_is_not_guessed(rgb):
    image = by_hand(lambda x, y: np.hypot(x, y) < 0.2, rgb)
    (item,) = observe(image).objects
    assert item.colour is None
    assert item.shape is Shape.CIRCLE
    assert check(image, Single(RED_CIRCLE, Background.WHITE)).abstained == ("colours",)


def test_a_striped_border_has_no_background():
    image = draw(scene_of(Single(RED_CIRCLE, Background.WHITE), (0.5, 0.5)), 64)
    image[:, ::2][:, :4] = 0
    image[::2][[0, 1, -1]] = 0
    assert observe(image).background is None
    assert "background" in check(image, Single(RED_CIRCLE, Background.WHITE)).abstained


def test_places_and_radii_are_measured_to_a_fraction_of_a_pixel():
    for index in range(60):
        scene = sample_scene(16, index, "train")
        seen = observe(draw(scene, 64)).objects
        for item in scene.objects:
            nearest = min(seen, key=lambda other: np.hypot(other.x - item.x, other.y - item.y))
            assert [nearest.x, nearest.y] == pytest.approx([item.x, item.y], abs=0.5 / 64)
            assert nearest.radius == pytest.approx(item.radius, abs=0.5 / 64)


def test_categories_follow_the_kind_and_every_kind_is_asked():
    verdict = check(draw(scene_of(LEFT, (0.75, 0.5), (0.25, 0.5)), 64), LEFT)
    assert categories(verdict) == {"position": False, "colour_attribution": True}
    swapped = Pair(Look(Colour.BLUE, Shape.CIRCLE), Look(Colour.RED, Shape.SQUARE), Background.WHITE)
    verdict = check(draw(scene_of(swapped, (0.25, 0.3), (0.7, 0.7)), 64), PAIR)
    assert categories(verdict) == {"two_objects": True, "colour_attribution": False}
    assert {kind for category in CATEGORIES for kind in category.kinds} == {"single", "counting", "pair", "position"}
    assert len({category.name for category in CATEGORIES}) == 6


def test_a_picture_that_is_not_square_is_refused():
    with pytest.raises(UserError, match="64 x 48"):
        check(np.zeros((48, 64, 3), np.uint8), PAIR)
