"""Embedded captions beside the pictures: whatever is wrong with a file is one line that names its row."""

import json
import logging
from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from imagen.data.reading.captions import OneColumn
from imagen.errors import UserError
from imagen.text.bag_of_words import BagOfWords
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import HuggingFaceEncoder
from imagen.text.rows.row_file import RowReader, fingerprint_in, row_file
from imagen.text.rows.row_text import RowsText
from imagen.text.sources import make_text_source

CAPTIONS = ("a red circle", "", "two words", "a red circle")
ENCODER = BagOfWords(4, 16, 0)
READER = RowReader(ENCODER.fingerprint, 4)
GOOD = row_file(CAPTIONS, ENCODER(list(CAPTIONS)), ENCODER.fingerprint)


def changed(**tensors: torch.Tensor | None) -> bytes:
    """The file with other tensors; without those that are None."""
    kept = {name: tensor for name, tensor in (load(GOOD) | tensors).items() if tensor is not None}
    return save(kept, {"fingerprint": json.dumps(ENCODER.fingerprint)})


def with_header(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def test_every_caption_is_found_with_the_vectors_that_were_stored():
    for caption, vectors in zip(CAPTIONS, ENCODER(list(CAPTIONS)).rows(), strict=True):
        found = READER.read(GOOD, caption, "row 1")
        assert found.dtype is torch.bfloat16
        assert torch.equal(found, vectors.bfloat16())
    assert fingerprint_in(GOOD, "row 1") == ENCODER.fingerprint
    assert row_file(CAPTIONS, ENCODER(list(CAPTIONS)), ENCODER.fingerprint) == GOOD


def test_a_row_of_empty_captions_has_no_tokens():
    file = row_file(("",), TextEmbeddings.null(1, 4), ENCODER.fingerprint)
    assert READER.read(file, "", "row 1").shape == (0, 4)


LENGTHS = load(GOOD)["lengths"]
BAD = {
    "missing": (None, r"no embedded captions are read with its picture"),
    "empty": (b"", r"not a whole safetensors file"),
    "cut": (GOOD[:-9], r"not a whole safetensors file"),
    "cut in the header": (GOOD[:40], r"not a whole safetensors file"),
    "a header of 2^60 bytes": ((1 << 60).to_bytes(8, "little") + GOOD[8:], r"not a whole safetensors file"),
    "a header that is no JSON": (with_header(b"\xff" * 90), r"not UTF-8"),
    "a deep header": (with_header(b"[" * 60_000), r"nested too deeply"),
    "no fingerprint": (save(load(GOOD)), r"does not say which text encoder made it"),
    "a fingerprint of lists": (save(load(GOOD), {"fingerprint": '{"model": []}'}), r"does not say which text encoder"),
    "another encoder": (
        row_file(CAPTIONS, ENCODER(list(CAPTIONS)), ENCODER.fingerprint | {"seed": 1}),
        r"another text encoder \(seed: 1 there, in the configuration 0\)",
    ),
    "another caption": (
        row_file(("b",) * 4, ENCODER(list(CAPTIONS)), ENCODER.fingerprint),
        r"'a red circle' is not among the 4 that were embedded",
    ),
    "not finite": (changed(values=torch.full((8, 4), float("nan")).bfloat16()), r"'a red circle' are not finite"),
    "another width": (changed(values=torch.zeros(8, 5).bfloat16()), r"values is torch.bfloat16 of shape \(8, 5\)"),
    "another type": (changed(values=torch.zeros(8, 4)), r"values is torch.float32"),
    "no values": (changed(values=None), r"values is missing"),
    "no lengths": (changed(lengths=None), r"lengths is missing|digests is"),
    "no digests": (changed(digests=None), r"digests is missing"),
    "huge lengths": (changed(lengths=torch.full((4,), 2**31 - 1, dtype=torch.int32)), r"lengths sum to 8589934588"),
    "negative lengths": (changed(lengths=LENGTHS - torch.tensor([9, -9, 0, 0], dtype=torch.int32)), r"lengths sum to"),
    "too few lengths": (changed(lengths=LENGTHS[:1].clone()), r"digests is torch.uint8 of shape \(4, 16\)"),
    "a matrix of lengths": (changed(lengths=LENGTHS.reshape(2, 2)), r"lengths is torch.int32 of shape \(2, 2\)"),
}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line_that_names_its_row(content, said):
    with pytest.raises(UserError, match=said) as caught:
        READER.read(content, "a red circle", "x.tar sample 7")
    assert str(caught.value).startswith("x.tar sample 7")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_any_byte_may_be_wrong():
    """A wrong byte among the vectors shows in nothing but them; any other is refused in one line."""
    refused = []
    for place in np.random.default_rng(0).permutation(len(GOOD))[:300].tolist():
        content = bytearray(GOOD)
        content[place] ^= 0x55
        with suppress(UserError):
            READER.read(bytes(content), "two words", "row 1")
            continue
        refused.append(place)
    assert len(refused) > 150


def test_the_source_of_text_mode_shards_encodes_what_is_asked_for_outside_of_rows():
    source = make_text_source("shards", ENCODER, 4)
    assert isinstance(source, RowsText)
    embedded = source.embed(["a red circle", ""])
    assert torch.equal(embedded.values, ENCODER(["a red circle"]).values.bfloat16().float())
    assert embedded.lengths == (3, 0)
    assert source.fingerprint == ENCODER.fingerprint
    with pytest.raises(UserError, match=r"text\.mode=shards: pictures has no embedded captions .*`imagen shards`"):
        source.reader(None, "row 0", "pictures")
    with pytest.raises(UserError, match=r"row 0: embedded by another text encoder \(seed: 0 there"):
        make_text_source("shards", BagOfWords(4, 16, 1), 4).reader(GOOD, "row 0", "pictures")


def test_rows_are_used_without_the_encoders_files_if_its_settings_agree(tmp_path, caplog):
    absent = HuggingFaceEncoder(tmp_path / "absent")
    made_by = {**absent.settings, "model": "abc", "tokenizer": "def"}
    file = row_file(CAPTIONS, ENCODER(list(CAPTIONS)), made_by)
    source = make_text_source("shards", absent, 4)
    assert isinstance(source, RowsText)
    with caplog.at_level(logging.WARNING):
        reader = source.reader(file, "row 0", "pictures")
    assert "without comparing their encoder, whose files are missing" in caplog.text
    assert source.fingerprint == made_by
    assert len(reader.read(file, "two words", "row 0")) == 2
    with pytest.raises(UserError, match="absent"):
        source.embed(["a prompt"])
    other = make_text_source("shards", HuggingFaceEncoder(tmp_path / "absent", max_length=7), 4)
    assert isinstance(other, RowsText)
    with pytest.raises(UserError, match=r"max_length: 128 there, in the configuration 7"):
        other.reader(file, "row 0", "pictures")


@pytest.mark.parametrize(
    "weights", [[0.5], [0.5, 0.4], [1, 0], [1.5, -0.5], "half", [float("nan"), 0.5], [True, False]]
)
def test_weights_of_captions_are_one_for_each_with_the_sum_1(weights):
    column = OneColumn("caption", "weights")
    record = {"caption": ["one", "other"]}
    assert column.read(record, "row 1").weights == column.read({**record, "weights": []}, "row 1").weights == ()
    assert column.read({**record, "weights": [0.25, 0.75]}, "row 1").weights == (0.25, 0.75)
    with pytest.raises(UserError, match=r"row 1, weights: .* is not one weight for each of 2 captions"):
        column.read({**record, "weights": weights}, "row 1")
