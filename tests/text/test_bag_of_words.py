import pytest
import torch

from imagen.errors import UserError
from imagen.text.bag_of_words import BagOfWords
from imagen.text.cached.cache import EmbeddingCache
from imagen.text.encoders import HuggingFaceEncoder

LEFT = "a red circle to the left of a blue square"
RIGHT = "a blue square to the left of a red circle"


def encoder(features: int = 8, max_length: int = 16, seed: int = 0) -> BagOfWords:
    return BagOfWords(features, max_length, seed)


def test_two_orders_of_the_same_words_are_the_same_text():
    one, other = encoder()([LEFT, RIGHT]).rows()
    assert torch.equal(one, other)
    assert one.shape == (10, 8)  # "a" has two tokens


def test_another_word_changes_its_own_vector_alone():
    one, other = encoder()(["a red circle", "A red square"]).rows()
    assert torch.equal(one[0], other[0])  # a; the bags are circle and square, red in alphabetical order
    assert torch.equal(one[2], other[1])  # red
    assert not torch.isclose(one[1], other[2]).any()


def test_vectors_depend_on_the_seed_and_on_the_word_alone():
    again = encoder()(["a square", LEFT]).rows()[1]
    assert torch.equal(again, encoder()([LEFT]).values)
    assert not torch.isclose(again, encoder(seed=1)([LEFT]).values).any()
    drawn = encoder(features=4096)(["red"]).values
    assert drawn.mean().abs() < 0.1
    assert (drawn.std() - 1).abs() < 0.1


def test_padding_is_zero_and_masked_and_an_empty_caption_is_no_text():
    text, mask = encoder()(["a red circle", "", "ring"]).pad()
    assert mask.tolist() == [[True, True, True], [False] * 3, [True, False, False]]
    assert text[~mask].eq(0).all()


def test_cut_and_empty_captions_are_counted():
    bag = encoder(max_length=4)
    assert bag([LEFT, "", "a ring"]).lengths == (4, 0, 2)
    assert bag.take_counts().warnings() == [
        "1 of 3 captions are longer than 4 tokens and were cut",
        "1 of 3 captions are empty: they are encoded as no text at all",
    ]
    assert bag.take_counts().warnings() == []


def test_a_cache_of_it_is_refused_to_another_seed_and_to_a_t5(tmp_path, t5_folder):
    EmbeddingCache(tmp_path, encoder()).add([LEFT])
    stored = EmbeddingCache(tmp_path, encoder()).add([RIGHT])
    rows = stored.read(stored.find([LEFT, RIGHT])).rows()
    assert torch.equal(rows[0], rows[1])
    with pytest.raises(UserError, match="seed: cache 0, configuration 1"):
        EmbeddingCache(tmp_path, encoder(seed=1)).open()
    with pytest.raises(UserError, match="model: cache bag-of-words"):
        EmbeddingCache(tmp_path, HuggingFaceEncoder(t5_folder)).open()


def test_sizes_below_one_are_refused():
    with pytest.raises(UserError, match="max_length 0"):
        encoder(max_length=0)
