"""Packed rows give back what was put in."""

import pytest

from imagen.data.reading.captions import Captions
from imagen.data.reading.row_table import Row, RowTable

ROWS = [
    Row("a.png", Captions(("one",)), "metadata.jsonl", 1),
    Row("ü/猫.png", Captions(("two", "", "drei 猫"), (0.5, 0.25, 0.25)), "metadata.jsonl", 3),
    Row("b/\ud800.png", Captions(("",)), "b/metadata.csv", 2),
]


@pytest.mark.parametrize("condition", [None, "other.png"])
def test_a_row_is_what_was_added(condition):
    rows = [Row(row.file_name, row.captions, row.metadata, row.line, condition) for row in ROWS]
    table = RowTable(with_conditions=condition is not None)
    for row in rows:
        table.append(row)
    assert list(table) == rows
    assert table[-1] == rows[-1]
    assert table[1:] == rows[1:]
    assert [table.texts(index) for index in range(3)] == [row.captions.texts for row in rows]
    assert table.metadata == ["metadata.jsonl", "b/metadata.csv"]
    assert table.first_repeated() is None
    with pytest.raises(IndexError):
        table[3]


def test_the_first_repeated_picture_is_found_with_the_row_that_names_it_first():
    table = RowTable(with_conditions=False)
    for line, name in enumerate(["x", "a", "b", "a", "x", "a"]):
        table.append(Row(name, Captions((name,)), "metadata.jsonl", line))
    first, again = table.first_repeated()
    assert (first.line, again.line) == (1, 3)
