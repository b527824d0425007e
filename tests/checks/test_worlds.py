import json

import pytest

from imagen.checks.worlds import EVERY, World
from imagen.errors import UserError

ONE, OTHER = World("a", "Folder", "1"), World("b", "Folder", "2")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (ONE, World("moved", "Folder", "1"), True),
        (ONE, OTHER, False),
        (ONE, World("a", "Shapes", "1"), False),
        (ONE, World("a", "Folder"), None),
        (World("a", "Shapes", ""), World("b", "Shapes"), True),
        (World("a", "Shapes", ""), ONE, False),
        (ONE, EVERY, True),
    ],
)
def test_worlds_are_the_same_by_kind_and_fingerprint_and_not_by_name(first, second, same):
    assert first.is_same(second) is same
    assert second.is_same(first) is same


def test_a_record_of_a_world_is_json_and_is_read_back():
    record = json.loads(json.dumps(ONE.as_record()))
    assert World.from_record(record, "file", "restore it") == ONE
    assert str(World("a\x1b[2J", "Folder")) == "a\\x1b[2J"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ([], "file: a JSON object is expected"),
        ({"name": "a"}, "file: the field 'kind' is missing; restore it"),
        ({"name": "a", "kind": 3}, "file: kind is int 3, expected text"),
        ({"name": "a", "kind": "b", "path": "/"}, "file: unknown field 'path'"),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(record, expected):
    with pytest.raises(UserError, match=expected):
        World.from_record(record, "file", "restore it")
