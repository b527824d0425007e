"""JSON from other people."""

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest

from imagen.checks.foreign import checked_record, parse_json, read_json
from imagen.errors import UserError


@dataclass(frozen=True)
class Card:
    name: str
    size: int
    share: float
    below: int | None
    parts: dict[str, Any]
    words: list[str]
    step: int = 0


SOUND = {"name": "a", "size": 3, "share": 1, "below": None, "parts": {"x": [1]}, "words": ["b"]}


def test_a_sound_record_is_taken_and_defaults_hold():
    card = checked_record(Card, SOUND, "f.json", "write it again")
    assert (card.name, card.size, card.share, card.below, card.words, card.step) == ("a", 3, 1, None, ["b"], 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 7}, "name is int 7, expected text"),
        ({"size": True}, "size is bool True, expected a whole number"),
        ({"size": 2.0}, "size is float 2.0, expected a whole number"),
        ({"below": "x"}, "below is str 'x', expected a whole number or null"),
        ({"parts": None}, "parts is null, expected dict"),
        ({"words": ["a", 1]}, "words is list"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_a_field_of_another_type_is_named(change, said):
    with pytest.raises(UserError, match=r"^f\.json: .*write it again$") as error:
        checked_record(Card, SOUND | change, "f.json", "write it again")
    assert said in str(error.value)


def test_missing_fields_and_other_values_are_named():
    with pytest.raises(UserError, match="the field 'size' is missing"):
        checked_record(Card, {"name": "a"}, "f.json", "write it again")
    with pytest.raises(UserError, match="a JSON object is expected, found list"):
        checked_record(Card, [1], "f.json", "write it again")
    deep: Any = 1
    for _ in range(200):
        deep = {"x": deep}
    with pytest.raises(UserError, match="nested more than 50 deep"):
        checked_record(Card, SOUND | {"parts": deep}, "f.json", "write it again")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 10_000, "not JSON (Exceeds the limit"),
        (b"NaN", "not JSON (NaN is not a JSON number)"),
        (b'{"a": -Infinity}', "not JSON (-Infinity is not a JSON number)"),
        (b'{"a": ', "not JSON (Expecting value at line 1 column"),
        (b"\xff{}", "not UTF-8 (byte 0xff at 0)"),
    ],
)
def test_what_is_no_json_is_one_line(text, said):
    with pytest.raises(UserError) as error:
        parse_json(text, "f.json", "write it again")
    assert said in str(error.value)
    assert str(error.value).startswith("f.json: ")
    assert len(str(error.value).splitlines()) == 1


def test_a_byte_order_mark_is_passed_over():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "f.json", "") == {"a": 1}


def test_only_regular_files_of_bounded_size_are_read(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(json.dumps(["x" * 100]))
    assert read_json(path, "") == ["x" * 100]
    with pytest.raises(UserError, match="more than 50 bytes"):
        read_json(path, "write it again", max_bytes=50)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="not a regular file"):
        read_json(pipe, "")
