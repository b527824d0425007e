"""Files of embedded captions."""

import re

import pytest
import torch
from safetensors.torch import save_file

from imagen.errors import UserError
from imagen.text.cached.store import write_shard
from imagen.text.embedding_file import read_embeddings, write_embeddings
from imagen.text.embeddings import TextEmbeddings

ROWS = TextEmbeddings(torch.arange(12.0).reshape(3, 4), (2, 0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_written_is_read_in_float32(tmp_path, dtype):
    write_embeddings(TextEmbeddings(ROWS.values.to(dtype), ROWS.lengths), tmp_path / "rows.safetensors")
    found = read_embeddings(tmp_path / "rows.safetensors")
    assert found.values.dtype == torch.float32
    assert torch.equal(found.values, ROWS.values)
    assert found.lengths == ROWS.lengths


def test_a_shard_of_the_cache_is_such_a_file(tmp_path):
    _, file = write_shard(tmp_path, "shard-00000.safetensors", ["a", "b", "c"], ROWS)
    assert torch.equal(read_embeddings(file).values, ROWS.values)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"lengths": torch.tensor([3])}, "has no tensor 'values' (it holds lengths); an embeddings file has values"),
        ({"values": torch.ones(3, 4)}, "has no tensor 'lengths'"),
        ({"values": torch.ones(3), "lengths": torch.tensor([3])}, "values are float32 of shape (3,)"),
        (
            {"values": torch.ones(3, 4).long(), "lengths": torch.tensor([3])},
            "values are int64 of shape (3, 4)",
        ),
        ({"values": torch.ones(3, 4), "lengths": torch.tensor([3.0])}, "lengths are float32 of shape (1,)"),
        ({"values": torch.ones(3, 4), "lengths": torch.tensor([4, -1])}, "or one is negative"),
        ({"values": torch.ones(3, 4), "lengths": torch.tensor([1, 1])}, "lengths sum to 2, values has 3 rows"),
    ],
)
def test_another_content_is_refused_in_one_line(tmp_path, tensors, reason):
    path = tmp_path / "rows.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        read_embeddings(path)
    assert str(caught.value).startswith(f"embeddings file {path}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_damaged_or_none_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"missing\.safetensors cannot be read: No such file"):
        read_embeddings(tmp_path / "missing.safetensors")
    write_embeddings(ROWS, tmp_path / "rows.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "rows.safetensors").read_bytes()[:-5])
    with pytest.raises(UserError, match=r"cut\.safetensors is not a whole safetensors file"):
        read_embeddings(tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match="is not a regular file"):
        read_embeddings(tmp_path)
