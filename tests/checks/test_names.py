"""The rule for names that become paths."""

import pytest

from imagen.checks.names import checked_name, is_name, printable
from imagen.errors import UserError


@pytest.mark.parametrize("name", ["base", "2024", "a", "lr5e-4", "run.v2", "_x", "-1", "A" * 100])
def test_names_people_give(name):
    assert checked_name(name, "name") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "set/one", "/tmp/x", "../esc", "a\\b", "a b", "a\n", "\x1b[2J", "é", "A" * 101, "a\0"],
)
def test_what_leaves_the_folder_or_steers_the_terminal_is_no_name(name):
    assert not is_name(name)
    with pytest.raises(UserError, match="is not a name") as error:
        checked_name(name, "name")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("value", [None, 7, True, ["a"], {"a": 1}])
def test_other_types_are_no_names(value):
    with pytest.raises(UserError, match="is not a name"):
        checked_name(value, "name")


def test_printable_keeps_text_and_shows_what_steers_the_terminal():
    assert printable("ein Würfel × 3 \U0001f469") == "ein Würfel × 3 \U0001f469"
    assert printable("a\x1b[2J\r\nb\u202e") == "a\\x1b[2J\\r\\nb\\u202e"
