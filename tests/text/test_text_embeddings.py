import pytest
import torch

from imagen.errors import UserError
from imagen.text.embeddings import TextEmbeddings


@pytest.fixture
def three() -> TextEmbeddings:
    """Captions of 2, 0 and 3 tokens."""
    return TextEmbeddings(torch.arange(1.0, 21.0).reshape(5, 4).to(torch.bfloat16), (2, 0, 3))


def test_padding_is_zero_and_masked(three):
    text, mask = three.pad()
    assert text.shape == (3, 3, 4)
    assert text.dtype == torch.float32
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert torch.equal(text[mask], three.values.float())
    assert not text[~mask].any()


@pytest.mark.parametrize("count", [0, 2])
def test_null_texts_have_one_column_and_it_is_masked(count):
    text, mask = TextEmbeddings.null(count, 4).pad()
    assert text.shape == (count, 1, 4)
    assert not mask.any()


def test_selecting_takes_captions_in_order_and_again(three):
    chosen = three.select([2, 0, 1, 2])
    assert chosen.lengths == (3, 2, 0, 3)
    assert torch.equal(chosen.values, torch.cat([three.values[2:], three.values[:2], three.values[2:]]))
    assert three.select([]).values.shape == (0, 4)


def test_concatenating_what_was_selected_gives_it_back(three):
    again = TextEmbeddings.concatenate([three.select([0]), three.select([1, 2])])
    assert again.lengths == three.lengths
    assert torch.equal(again.values, three.values)


def test_lengths_must_account_for_every_vector():
    with pytest.raises(UserError, match="lengths sum to 4, values has 5 rows"):
        TextEmbeddings(torch.zeros(5, 2), (2, 2))
