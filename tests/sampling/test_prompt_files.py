"""Rows from text, CSV, JSON lines and standard input."""

import sys
from io import BytesIO
from types import SimpleNamespace

import pytest

from imagen.errors import UserError
from imagen.sampling.orders.prompt_files import read_rows
from imagen.sampling.orders.rows import Row

SAME = [
    Row("a red circle"),
    Row("a ring, green", seed=3),
    Row("a star", guidance_weight=(4.0,), negative_prompt="blurry"),
    Row("a 🎉", seed=-1, guidance_weight=(5.0, 2.0)),
]
JSONL = """\
{"prompt": "a red circle", "seed": null}

{"seed": 3, "prompt": "a ring, green"}
{"prompt": "a star", "guidance_weight": 4, "negative_prompt": "blurry"}
{"prompt": "a 🎉", "seed": -1, "guidance_weight": [5, 2]}
"""
CSV = """\
seed,prompt,guidance_weight,negative_prompt
,a red circle,,
3,"a ring, green",,

,a star,4,blurry
-1,a 🎉,"[5, 2]",
"""


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize(("name", "text"), [("rows.jsonl", JSONL), ("rows.csv", CSV), ("ROWS.CSV", CSV)])
def test_the_same_rows_in_csv_and_in_json_lines(tmp_path, name, text, end, mark):
    (tmp_path / name).write_bytes((mark + text.replace("\n", end)).encode())
    assert read_rows(str(tmp_path / name)) == SAME


@pytest.mark.parametrize("name", ["prompts.txt", "prompts", "prompts.md"])
def test_a_text_file_is_taken_as_it_is(tmp_path, name):
    (tmp_path / name).write_text('a red circle, above\n\n  {"prompt": 1}\nprompt,seed\n')
    assert read_rows(str(tmp_path / name)) == [Row("a red circle, above"), Row('{"prompt": 1}'), Row("prompt,seed")]


def test_a_text_in_quotes_may_go_over_lines_and_later_rows_keep_their_line(tmp_path):
    (tmp_path / "rows.csv").write_text('prompt,seed\n"one\ntwo",1\n"say ""hi""",2\nthree,x\n')
    with pytest.raises(UserError, match=r"rows\.csv, line 5, seed='x' must be a whole number"):
        read_rows(str(tmp_path / "rows.csv"))
    (tmp_path / "rows.csv").write_text('prompt,seed\n"one\ntwo",1\n"say ""hi""",2\n')
    assert [row.prompt for row in read_rows(str(tmp_path / "rows.csv"))] == ["one\ntwo", 'say "hi"']


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        (JSONL, SAME, "read as jsonl, 4 prompts"),
        ("\ufeff\n  " + JSONL, SAME, "read as jsonl, 4 prompts"),
        ("a\nb\n", [Row("a"), Row("b")], "read as txt, 2 prompts"),
        ("[a]\n", [Row("[a]")], "read as txt, 1 prompt"),
    ],
)
def test_standard_input_says_what_it_was_taken_for(monkeypatch, capsys, text, rows, said):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(text.encode())))
    assert read_rows("-") == rows
    assert capsys.readouterr().out == f"standard input: {said}\n"


@pytest.mark.parametrize("text", ["", " \n\n", "\ufeff"])
@pytest.mark.parametrize("name", ["rows.txt", "rows.csv", "rows.jsonl", "-"])
def test_no_rows_are_refused(tmp_path, monkeypatch, name, text):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(text.encode())))
    (tmp_path / "rows").write_text(text)
    path = name if name == "-" else str((tmp_path / "rows").rename(tmp_path / name))
    with pytest.raises(UserError, match=r"holds no prompts; give at least one$"):
        read_rows(path)


def test_a_csv_with_a_header_alone_has_no_rows(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,seed\n")
    with pytest.raises(UserError, match=r"holds no prompts"):
        read_rows(str(tmp_path / "rows.csv"))
