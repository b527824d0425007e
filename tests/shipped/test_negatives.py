import pytest

from imagen.shapes import draw, parse, sample_scene
from imagen.shapes.checking import check
from imagen.shipped.negatives import contents, wrong_descriptions


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_wrong_caption_is_false_of_the_picture_and_the_right_one_true(split):
    seen = set()
    for index in range(40):
        scene = sample_scene(21, index, split)
        picture = draw(scene, 64)
        assert check(picture, scene.description).all_correct
        for attribute, wrong in wrong_descriptions(scene.description).items():
            seen.add(attribute)
            for description in wrong[::5] or wrong:
                assert not check(picture, description).all_correct, (attribute, description)
    assert seen == {"colour", "shape", "count", "size", "relation", "binding", "background"}


def test_a_pair_in_the_other_order_is_never_wrong():
    pair = parse("a red circle and a red square on a white background")
    names = [contents(wrong) for group in wrong_descriptions(pair).values() for wrong in group]
    assert contents(pair) not in names
    assert "binding" not in wrong_descriptions(pair)  # both are red


def test_exchanged_colours_of_equal_shapes_are_wrong_in_a_position_only():
    position = parse("a red circle above a blue circle on a white background")
    pair = parse("a red circle and a blue circle on a white background")
    assert [d.first.colour for d in wrong_descriptions(position)["binding"]] == ["blue"]
    assert "binding" not in wrong_descriptions(pair)
