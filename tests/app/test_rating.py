"""`imagen rate` from a finished evaluation to a table, as a user calls it."""

import json

import pytest
import torch

from imagen.app import rating
from imagen.evaluation.results.archive import FILE
from imagen.evaluation.sweep.blocks import save_atomically


def evaluation(folder, cells=("dynamic-w1.0", "dynamic-w3.0")):
    names = [*cells, "ground-truth", "noise"]
    pictures = {name: torch.full((3, 4, 4, 3), 40 * i, dtype=torch.uint8) for i, name in enumerate(names)}
    header = {"texts": ["a", "b", "c"], "categories": [None] * 3, "cells": list(cells), "jackknives": {}}
    save_atomically(pictures, {"archive": json.dumps(header)}, folder / FILE)
    return str(folder)


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["rating", *arguments])
    with pytest.raises(SystemExit) as stopped:
        rating.main()
    return stopped.value.code


def answer_all(key, choice=0):
    """Somebody who passes the checks and otherwise always answers the same."""
    return [choice if item["expected"] is None else item["expected"] for item in key["items"]]


def test_a_page_is_made_answered_and_read(tmp_path, monkeypatch, capsys):
    folder = evaluation(tmp_path / "e")
    assert call(monkeypatch, "make", folder, "--cell", "dynamic-w3.0") == 0
    key = json.loads((tmp_path / "e/rating/key.json").read_text())
    answers = {"format": 1, "page": key["page"], "rater": "anna", "answers": answer_all(key)}
    (tmp_path / "a.json").write_text(json.dumps(answers))
    capsys.readouterr()
    assert call(
        monkeypatch, "read", str(tmp_path / "a.json"), "--key", str(tmp_path / "e/rating/key.json"), "--out", folder
    ) == 0  # fmt: skip
    assert "| all | e dynamic-w3.0 | 100.0 [100.0, 100.0] | 3 |" in capsys.readouterr().out
    found = json.loads((tmp_path / "e/ratings.json").read_text())
    assert {one["question"] for one in found["scores"]} == {"photorealism", "caption"}


def test_two_cells_of_one_evaluation_can_be_compared(tmp_path, monkeypatch):
    folder = evaluation(tmp_path / "e")
    cells = ["--cell", "dynamic-w1.0", "--cell", "dynamic-w3.0"]
    assert call(monkeypatch, "make", folder, folder, *cells, "--out", str(tmp_path / "out")) == 0
    key = json.loads((tmp_path / "out/key.json").read_text())
    assert {item["question"] for item in key["items"]} == {"quality", "alignment"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "has 2 cells; choose with --cell: dynamic-w1.0, dynamic-w3.0"),
        (["--cell", "dynamic-w2.0"], "has no cell dynamic-w2.0"),
        (["--cell", "a", "--cell", "b"], "--cell is given 2 times for 1 evaluations"),
        (["--cell", "dynamic-w1.0", "--count", "9"], "--count is 9"),
    ],
)
def test_wrong_calls_get_one_line(tmp_path, monkeypatch, capsys, arguments, complaint):
    assert call(monkeypatch, "make", evaluation(tmp_path / "e"), *arguments) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_a_cell_is_not_compared_with_itself_and_the_key_of_another_page_is_kept(tmp_path, monkeypatch, capsys):
    folder = evaluation(tmp_path / "e", cells=["dynamic-w1.0"])
    assert call(monkeypatch, "make", folder, folder) == 2
    assert "compared with itself" in capsys.readouterr().err
    assert call(monkeypatch, "make", folder) == 0
    before = (tmp_path / "e/rating/key.json").read_bytes()
    assert call(monkeypatch, "make", folder) == 0  # the same page again
    assert call(monkeypatch, "make", folder, "--seed", "1") == 2
    assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / "e/rating/key.json").read_bytes() == before


def test_ratings_of_another_page_are_kept_and_a_name_does_not_lead_elsewhere(tmp_path, monkeypatch, capsys):
    keys = {}
    for name in ("e", "f"):
        assert (
            call(monkeypatch, "make", evaluation(tmp_path / name), "--cell", "dynamic-w3.0", "--seed", str(len(keys)))
            == 0
        )
        keys[name] = json.loads((tmp_path / name / "rating/key.json").read_text())
        answers = {"format": 1, "page": keys[name]["page"], "rater": "anna", "answers": answer_all(keys[name])}
        (tmp_path / f"{name}.json").write_text(json.dumps(answers))

    def read(name):
        key = str(tmp_path / name / "rating/key.json")
        return call(monkeypatch, "read", str(tmp_path / f"{name}.json"), "--key", key, "--out", str(tmp_path / "out"))

    assert keys["e"]["page"] != keys["f"]["page"]
    assert [read("e"), read("e"), read("f")] == [0, 0, 2]
    assert "ratings.json is of another page; choose another --out" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "ratings.json").read_text())["page"] == keys["e"]["page"]
    assert call(monkeypatch, "make", "../../../elsewhere") == 2
    assert "'../../../elsewhere' is not a name" in capsys.readouterr().err
