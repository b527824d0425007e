"""Descriptions, captions, splits, paraphrases."""

import hashlib
from collections import Counter as Tally

import pytest

from imagen.errors import UserError
from imagen.shapes import (
    Background,
    Colour,
    Counting,
    Look,
    Pair,
    Position,
    Relation,
    Shape,
    Single,
    Size,
    Split,
    all_captions,
    all_descriptions,
    caption,
    is_held_out,
    paraphrases,
    parse,
)
from imagen.shapes.descriptions import LOOKS, Composition
from imagen.shapes.splits import is_held_out_composition

RED_CIRCLE = Look(Colour.RED, Shape.CIRCLE)
BLUE_SQUARE = Look(Colour.BLUE, Shape.SQUARE)
ORANGE_CROSS = Look(Colour.ORANGE, Shape.CROSS)
EVERYTHING = all_descriptions("train") + all_descriptions("held_out")
ARRANGEMENTS = ("alone", "several", "together", "left", "right", "above", "below")


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (Single(RED_CIRCLE, Background.WHITE), "a red circle on a white background"),
        (Single(ORANGE_CROSS, Background.GREY), "an orange cross on a grey background"),
        (Single(ORANGE_CROSS, Background.BLACK, Size.LARGE), "a large orange cross on a black background"),
        (Counting(3, ORANGE_CROSS, Background.GREY), "three orange crosses on a grey background"),
        (Pair(RED_CIRCLE, BLUE_SQUARE, Background.BLACK), "a red circle and a blue square on a black background"),
        (
            Position(RED_CIRCLE, Relation.LEFT, BLUE_SQUARE, Background.WHITE),
            "a red circle to the left of a blue square on a white background",
        ),
        (
            Position(BLUE_SQUARE, Relation.ABOVE, ORANGE_CROSS, Background.WHITE),
            "a blue square above an orange cross on a white background",
        ),
    ],
)
def test_each_kind_reads_as_plain_english(description, text):
    assert caption(description) == text


def test_captions_parse_back_to_their_descriptions():
    for description in EVERYTHING[::7]:
        assert parse(caption(description)) == description


def test_no_two_descriptions_have_the_same_caption():
    assert len({*all_captions("train"), *all_captions("held_out")}) == len(EVERYTHING) == 13_590


def test_case_spacing_and_a_full_stop_do_not_matter():
    assert parse("  A red  circle on a White background. ") == Single(RED_CIRCLE, Background.WHITE)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a mauve circle on a white background", "'mauve'"),
        ("a red dog on a white background", "'dog'"),
        ("a red circle under a blue square on a white background", "'under'"),
        ("a red circle to the side of a blue square on a white background", "'side'"),
        ("five red circles on a white background", "'five'"),
        ("two red circle on a white background", "'circle'"),
        ("a red circle on a pink background", "'pink'"),
        ("a red circle on a white background please", "'please'"),
        ("a small red circle and a blue square on a white background", "'and'"),
        ("a red circle on a white", "ends where"),
        ("", "ends where"),
        ("a red circle and a red circle on a white background", "red circle"),
    ],
)
def test_text_outside_the_grammar_is_refused_by_naming_the_word(text, named):
    with pytest.raises(UserError, match=named) as refusal:
        parse(text)
    assert "\n" not in str(refusal.value)


def test_train_and_held_out_share_no_caption_and_cover_the_grammar():
    train, held_out = all_captions("train"), all_captions("held_out")
    assert not set(train) & set(held_out)
    assert all_captions("validation") == train
    assert len(train) + len(held_out) == 13_590
    assert 0.15 < len(held_out) / 13_590 < 0.30


def test_a_held_out_description_holds_a_composition_that_training_never_shows():
    shown = {composition for description in all_descriptions("train") for composition in description.compositions}
    for description in all_descriptions("held_out"):
        assert is_held_out(description)
        assert set(description.compositions) - shown


def test_a_position_and_its_inverse_are_in_the_same_split():
    for description in EVERYTHING:
        if isinstance(description, Position):
            first, second = description.first, description.second
            inverse = Position(second, description.relation.inverse, first, description.background)
            assert is_held_out(inverse) is is_held_out(description)


def test_every_word_stays_common_in_training():
    """Held out are combinations: each colour and each shape must still be seen in each arrangement."""
    kept = [Composition(look, place) for look in LOOKS for place in ARRANGEMENTS]
    kept = [composition for composition in kept if not is_held_out_composition(composition)]
    assert 0.8 < len(kept) / (30 * 7) < 0.95
    colours = Tally((composition.look.colour, composition.arrangement) for composition in kept)
    shapes = Tally((composition.look.shape, composition.arrangement) for composition in kept)
    assert len(colours) == 6 * 7
    assert min(colours.values()) >= 3  # of 5
    assert len(shapes) == 5 * 7
    assert min(shapes.values()) >= 4  # of 6
    relations = Tally(item.relation for item in all_descriptions("train") if isinstance(item, Position))
    assert min(relations.values()) > 1500


def test_the_split_is_the_one_the_shipped_assets_were_trained_on():
    """Another split would show the shipped models' held-out compositions in training, or the reverse."""
    digest = hashlib.sha256("\n".join(sorted(all_captions("held_out"))).encode()).hexdigest()
    assert digest[:16] == "bedf5beddb0e62dd"


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="'test' is not one of train, validation, held_out"):
        all_descriptions("test")
    assert Split("held_out") is Split.HELD_OUT


def test_paraphrases_are_different_sentences_and_never_the_caption():
    for description in EVERYTHING[::37]:
        sentences = paraphrases(description)
        assert len(sentences) >= 8
        assert len({*sentences, caption(description)}) == len(sentences) + 1


def test_paraphrases_bind_relations_both_ways():
    sentences = paraphrases(Position(RED_CIRCLE, Relation.LEFT, BLUE_SQUARE, Background.WHITE))
    assert "the blue square is to the right of the red circle" in sentences
    assert "the circle is red and the square is blue" in sentences
    assert "the blue object is to the right of the red one" in sentences
    assert not any("blue circle" in sentence or "red square" in sentence for sentence in sentences)
    assert not any("the square is to the left" in sentence for sentence in sentences)


def test_a_paraphrase_names_an_object_by_one_word_only_where_that_word_fits_one_object():
    red_square = Look(Colour.RED, Shape.SQUARE)
    same_colour = paraphrases(Position(RED_CIRCLE, Relation.ABOVE, red_square, Background.WHITE))
    assert not any("the red object" in sentence or "the red one" in sentence for sentence in same_colour)
    same_shape = paraphrases(Pair(BLUE_SQUARE, red_square, Background.WHITE))
    assert not any("the square" in sentence for sentence in same_shape)
