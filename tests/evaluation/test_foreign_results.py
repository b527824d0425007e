"""A finished evaluation may come from somebody else: all values are checked, and nothing is written elsewhere."""

import json
import shutil

import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.compare.report import write_comparison
from imagen.evaluation.compare.sides import load_side, read_results
from imagen.evaluation.results.archive import FILE, read_archive
from imagen.evaluation.sweep.blocks import save_atomically


@pytest.fixture
def handed_in(run, tmp_path):
    """A copy of a finished evaluation, and how to change its results.json."""
    _, finished = run
    folder = tmp_path / "handed in"
    folder.mkdir()
    for name in ("results.json", FILE):
        shutil.copy(finished / name, folder / name)

    def change(changed):
        content = json.loads((folder / "results.json").read_text())
        changed(content)
        (folder / "results.json").write_text(json.dumps(content))
        return folder

    return change


def relabelled(label):
    def change(content):
        for cell in content["cells"]:
            cell["curve"] = label if cell["curve"] == "static" else cell["curve"]

    return change


def in_cell(**changes):
    return lambda content: content["cells"][1].update(changes)


def in_results(**changes):
    return lambda content: content.update(changes)


def test_what_we_wrote_is_read(handed_in):
    assert load_side(handed_in(lambda content: None), "mine").cells


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (relabelled("x/../../../y"), "the label 'x/../../../y' cannot name a file"),
        (relabelled("/etc/x"), "the label '/etc/x' cannot name a file"),
        (relabelled("a\x1b[2J"), r"the label 'a\x1b[2J' cannot name a file"),
        (relabelled("Dynamic"), "two labels name the file"),
        (in_cell(curve=["x"]), "curve is ['x']"),
        (in_cell(guidance_weight="3"), "guidance_weight is '3'"),
        (in_cell(guidance_weight=-1), "guidance weight -1 is not"),
        (in_cell(guidance_weight=1), "guidance weight 1 is given twice"),
        (in_cell(pictures=None), "pictures is None"),
        (in_cell(metrics=[]), "numbers is []"),
        (in_cell(metrics={"fd[tiny]": "5"}), "fd[tiny] is '5'"),
        (in_cell(metrics={"fd[tiny]": 10**400}), "fd[tiny] is 1000"),
        (in_cell(metrics={"fd[$\\frac$]": 5.0}, intervals={}), "the name of a number is 'fd[$"),
        (in_cell(intervals=3), "intervals is 3"),
        (in_cell(intervals={"align[tiny]": {"estimate": 1.0}}), "the field 'low' is missing"),
        (in_cell(intervals={"other": {}}), "intervals is {'other': {}}"),
        (in_results(cells={}), "cells is {}"),
        (in_results(cells=[]), "cells is []"),
        (in_results(cells=["x"]), "cells is 'x'"),
        (in_results(controls=None), "controls is None"),
        (in_results(controls={"noise": {"fd[tiny]": None}}), "fd[tiny] is None"),
        (in_results(resolution="16"), "resolution is '16'"),
        (in_results(pictures_per_cell=1.5), "pictures_per_cell is 1.5"),
        (in_results(curves=[]), "curves is []"),
        (in_results(curves={"dynamic": {"stages": [{"seed": "0"}]}}), "curves is {'seed': '0'}"),
        (in_results(curves={"dynamic": {"stages": 3}}), "curves is {'stages': 3}"),
    ],
)
def test_results_with_other_fields_than_ours_are_refused_by_name(handed_in, change, expected):
    with pytest.raises(UserError) as caught:
        read_results(handed_in(change))
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_label_that_leads_elsewhere_makes_compare_write_nothing(handed_in, run, tmp_path):
    """The pictures are named alike, so that nothing but the label speaks against it."""
    label, (_, finished) = "x/../../../y", run
    folder = handed_in(relabelled(label))
    archive = read_archive(finished)
    header = {"texts": archive.texts, "categories": archive.categories, "jackknives": {}}
    header["cells"] = [name.replace("static", label) for name in archive.cells]
    pictures = {name.replace("static", label): kept for name, kept in archive.pictures.items()}
    save_atomically(pictures, {"archive": json.dumps(header)}, folder / FILE)
    out = tmp_path / "a" / "b" / "c"
    (out / "compare-x").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot name a file"):
        write_comparison(load_side(folder, "one"), load_side(folder, "other"), out)
    assert not list(tmp_path.rglob("*y.png"))
    with pytest.raises(UserError, match="cells is"):
        read_archive(folder)


def kept(folder, pictures=None, **changes):
    header = {"texts": ["a", "b"], "categories": [None, "c"], "cells": ["d-w1.0"], "jackknives": {}} | changes
    given = {"d-w1.0": torch.zeros(2, 4, 4, 3, dtype=torch.uint8)} if pictures is None else pictures
    save_atomically(given, {"archive": json.dumps(header)}, folder / FILE)
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"texts": "ab"}, "texts is 'ab'"),
        ({"texts": [1, 2]}, "texts is [1, 2]"),
        ({"categories": [None]}, "categories is [None]"),
        ({"cells": ["../w1"]}, "cells is ['../w1']"),
        ({"cells": ["d-w1.0", "d-w1.0"]}, "cells is"),
        ({"cells": ["d-w1.0", "d-w2.0"]}, ": no pictures of the cell 'd-w2.0'"),
        ({"jackknives": []}, "jackknives is []"),
        ({"jackknives": {"d-w1.0": 3}}, "jackknives is 3"),
        ({"jackknives": {"d-w1.0": {"fd[j]": [1.0, 2.0, None]}}}, "jackknives.'fd[j]' is [1.0, 2.0, None]"),
        ({"jackknives": {"d-w1.0": {"fd[j]": [1.0]}}}, "jackknives.'fd[j]' is [1.0]"),
        ({"pictures": {"d-w1.0": torch.zeros(3, 4, 4, 3, dtype=torch.uint8)}}, "pictures of 'd-w1.0' is 'torch.uint8"),
        ({"pictures": {"d-w1.0": torch.zeros(2, 4, 4, 3)}}, "pictures of 'd-w1.0' is 'torch.float32"),
        ({"pictures": {"d-w1.0": torch.zeros(2, 4, 3, dtype=torch.uint8)}}, "pictures of 'd-w1.0' is"),
    ],
)
def test_an_archive_with_other_fields_than_ours_is_refused_by_name(tmp_path, changes, expected):
    assert read_archive(kept(tmp_path)).cells == ["d-w1.0"]
    with pytest.raises(UserError) as caught:
        read_archive(kept(tmp_path, **changes))
    assert expected in str(caught.value)


def test_results_and_pictures_of_different_cells_are_refused(handed_in):
    folder = handed_in(lambda content: content["cells"].pop())
    with pytest.raises(UserError, match="have different cells"):
        load_side(folder, "mine")
