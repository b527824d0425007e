import json
import re
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from imagen.errors import UserError
from imagen.evaluation.compare.report import as_html, as_markdown, write_comparison
from imagen.evaluation.compare.sides import MUST_AGREE, Side, load_side, shared_cells
from imagen.evaluation.judges.metric import FRECHET, RECALL, Metric
from imagen.evaluation.report.page.document import plotly
from imagen.evaluation.results.archive import Archive
from imagen.evaluation.statistics.jackknife import jackknife_mean
from imagen.files import fingerprint


def side(name, value, weights=(1.0, 3.0), **facts):
    """An evaluation whose only numbers are a distance with an interval and a recall without."""
    interval = {"estimate": value, "low": value - 1, "high": value + 1, "method": "jackknife"}
    cells = [
        {"curve": "dynamic", "guidance_weight": w, "pictures": 40, "metrics": {"fd[j]": value, "recall[j]": 0.5},
         "intervals": {"fd[j]": interval}}
        for w in weights
    ]  # fmt: skip
    scores = value + torch.linspace(-1, 1, 40, dtype=torch.float64)  # the same spread everywhere: pairing cancels it
    names = [f"dynamic-w{w}" for w in weights]
    pictures = {cell: torch.full((2, 8, 8, 3), 40 * i, dtype=torch.uint8) for i, cell in enumerate(names)}
    jackknives = {cell: {"fd[j]": jackknife_mean(scores)} for cell in names}
    archive = Archive(["a", "b"], [None, None], names, pictures, jackknives)
    metrics = [asdict(Metric.of_judge(key, "j", axis)) for key, axis in (("fd[j]", FRECHET), ("recall[j]", RECALL))]
    known = {"cells": cells, "controls": {}, "metrics": metrics}
    return Side(name, dict.fromkeys(MUST_AGREE, "same") | known | facts, archive)


def test_shared_cells_stand_side_by_side_with_the_paired_difference():
    one, other = side("a", 5.0), side("b", 7.0, weights=(3.0, 4.0))
    text = as_markdown(one, other, shared_cells(one, other))
    # Each side alone is uncertain by about 0.2; what both share cancels.
    assert "| dynamic | 3 | fd[j] | 5 [4, 6] | 7 [6, 8] | **+2 [+2, +2]** |" in text
    assert "| dynamic | 3 | recall[j] | 0.5 | 0.5 | +0 |" in text
    assert "| dynamic | 1 |" not in text
    assert "| dynamic | 4 |" not in text


@pytest.mark.parametrize("fact", MUST_AGREE)
def test_numbers_measured_in_different_ways_are_not_compared(fact):
    with pytest.raises(UserError, match=f"a and b differ in {fact}: same and another"):
        shared_cells(side("a", 5.0), side("b", 7.0, **{fact: "another"}))


def test_pictures_of_other_noise_are_not_compared():
    def seeded(seed):
        return {"curves": {"dynamic": {"stages": [{"seed": seed}, {"seed": seed}]}}}

    assert shared_cells(side("a", 5.0, **seeded(0)), side("b", 7.0, **seeded(0)))
    with pytest.raises(UserError, match=r"a and b differ in cascade.seed: \[0\] and \[1\]"):
        shared_cells(side("a", 5.0, **seeded(0)), side("b", 7.0, **seeded(1)))


def test_nothing_in_common_or_nothing_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="share no curve and guidance weight"):
        shared_cells(side("a", 5.0, weights=(1.0,)), side("b", 7.0, weights=(2.0,)))
    with pytest.raises(UserError, match="finish that evaluation first"):
        load_side(tmp_path, "a")
    (tmp_path / "results.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="has format 1, this version reads 3; evaluate again"):
        load_side(tmp_path, "a")


def test_results_and_pictures_of_different_evaluations_are_not_taken_for_one(run, tmp_path):
    """As a kill leaves them between the two files, when an evaluation is made anew in the same folder."""
    _, out = run
    shutil.copy(out / "kept.safetensors", tmp_path)
    written = json.loads((out / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(written | {"fingerprint": "0" * 64}))
    with pytest.raises(UserError, match="belong to different evaluations; finish the last one"):
        load_side(tmp_path, "one")


def test_a_finished_evaluation_compared_with_itself(run, tmp_path):
    """Everything that `write_comparison` reads is in the folder that evaluate.py wrote."""
    results, out = run
    assert results.facts["texts_sha256"] == fingerprint(results.texts)
    one, other = load_side(out, "one"), load_side(out, "<other>")
    shared = shared_cells(one, other)
    assert [cell.cell for cell in shared] == [result.cell for result in results.cells]
    for cell in shared:
        assert {"kid[tiny]", "align[tiny]", "checker[all]"} <= cell.differences.keys()
        assert all(change.estimate == change.low == change.high == 0 for change in cell.differences.values())
    write_comparison(one, other, tmp_path)
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert page == as_html(one, other, shared, tmp_path)
    page = page.replace(plotly(), "")
    assert re.findall(r'src="(.{15})', page) == ["data:image/png;"] * 3  # the plot and two grids
    assert not re.findall(r"https?://|<other>", page)
    with Image.open(tmp_path / "compare-static.png") as image:
        colours = {tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert tuple(results.pictures["static-w4.0"][0][8, 8].tolist()) in colours
