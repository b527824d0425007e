"""sample.py and evaluate.py by their own code path, on a small cascade."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_settings import read_settings
from safetensors import safe_open
from small_stages import export_random_stage, export_readers_of_shapes_t5

from imagen.app.evaluate import evaluate
from imagen.app.sample import sample
from imagen.errors import UserError
from imagen.evaluation.results.archive import read_archive
from imagen.files import fingerprint
from imagen.runs.find import find_stages
from imagen.stages.export import read_description

FAST = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "cascade.device=cpu"]
CAPTION = "a red circle above a blue square on a white background"


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def compose_sample(compose_config, stages):
    return lambda *overrides: compose_config("sample", *FAST, f"cascade.stages=[{','.join(stages)}]", *overrides)


def test_pictures_of_every_stage_carry_their_settings(compose_sample, stages, tmp_path):
    sample(
        compose_sample(
            f"prompt={CAPTION}",
            "count=2",
            f"out={tmp_path}/out",
            "guidance_weights=[4,2]",
            "cascade.batch_size=1",
            "cascade.seed=7",
        )
    )
    out = tmp_path / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "base/00000.png", "base/00001.png", "grid.png", "sr1/00000.png", "sr1/00001.png",
    ]  # fmt: skip
    assert Image.open(out / "sr1" / "00000.png").size == (16, 16)
    settings = read_settings(out / "sr1" / "00001.png")
    assert (settings["prompt"], settings["picture"], settings["seed"], settings["stage"]) == (CAPTION, 1, 7, "sr1")
    assert [stage["stage"] for stage in settings["stages"]] == ["base", "sr1"]
    assert [stage["guidance_weight"] for stage in settings["stages"]] == [4.0, 2.0]
    assert [stage["weights"] for stage in settings["stages"]] == ["averaged", "averaged"]
    assert read_settings(out / "grid.png")["seed"] == 7
    base, sr1 = (read_settings(out / name / "00001.png")["stages"] for name in ("base", "sr1"))
    assert sr1[:1] == base
    assert sr1[1]["stage_sha256"] == fingerprint(read_description(Path(stages[1])).identity)


def test_the_same_seed_gives_the_same_pictures_in_any_batch(compose_sample, tmp_path):
    for name, batch_size, count in (("a", 1, 2), ("b", 4, 4)):
        sample(compose_sample(f"prompt={CAPTION}", f"count={count}", f"out={tmp_path / name}",
                              f"cascade.batch_size={batch_size}", "cascade.precision=32-true"))  # fmt: skip
    pictures = [np.asarray(Image.open(tmp_path / name / "sr1" / "00001.png")).astype(int) for name in "ab"]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "give either prompt"),
        ([f"prompt={CAPTION}", "count=0"], "count=0"),
        ([f"prompt={CAPTION}", "guidance_weights=nan"], "guidance_weights=nan must be a finite number"),
        ([f"prompt={CAPTION}", "guidance_weights=-1"], "guidance weight is -1"),
        ([f"prompt={CAPTION}", "guidance_weights=[]"], "give a number"),
        ([f"prompt={CAPTION}", "sampler.num_steps=0"], "num_steps"),
        ([f"prompt={CAPTION}", "cascade.aug_level=2"], "aug_level=2.0"),
        ([f"prompt={CAPTION}", "cascade.stop_at=sr9"], "choose one of base, sr1"),
        ([f"prompt={CAPTION}", "cascade.batch_size=0"], "batch_size=0"),
        ([f"prompt={CAPTION}", "cascade.device=cuda"], "no GPU"),
        ([f"prompt={CAPTION}", "cascade.precision=fp16"], "choose auto"),
        (
            [f"prompt={CAPTION}", "text=shapes_t5", "text.encoder.max_length=64"],
            "names (max_length: 128, here 64): leave",
        ),
        ([f"prompt={CAPTION}", "text.encoder.path=/nowhere"], "/nowhere"),
        ([f"prompt={CAPTION}", "cascade.stages=null", "cascade.runs=[nobody]"], "cascade.runs=['nobody']: no finished"),
        ([f"prompt={CAPTION}", "cascade.runs=[mine]"], "cascade.runs=['mine'] and cascade.stages are both set"),
        (["prompts_file=/nowhere.txt"], "nowhere.txt cannot be read"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(overrides, expected, compose_sample, tmp_path):
    with pytest.raises(UserError) as caught:
        sample(compose_sample(*overrides, f"out={tmp_path}/out"))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_super_resolution_stage_given_as_base_is_refused(compose_config, stages, tmp_path):
    config = compose_config(
        "sample", *FAST, f"cascade.stages=[{stages[1]}]", f"prompt={CAPTION}", f"out={tmp_path}/out"
    )
    with pytest.raises(UserError, match="'sr1' expects input images of 8 × 8 but follows no stage"):
        sample(config)


def test_the_newest_finished_runs_are_found_and_a_stage_that_does_not_fit_is_left_out(
    compose_config, stages, tmp_path, capsys
):
    for name in ("base", "sr1"):
        shutil.copytree(Path(stages[0]).parent / name, tmp_path / "runs" / name / "mine" / "export")
    export_random_stage(tmp_path / "runs" / "sr2" / "mine" / "export", "sr2", 64, 32)
    sample(compose_config("sample", *FAST, f"prompt={CAPTION}", "count=1", f"out={tmp_path}/out"))
    printed = capsys.readouterr().out
    assert f"stage base: {tmp_path}/runs/base/mine/export (8 × 8" in printed
    assert "sr1" in printed
    assert "sr2" not in printed


def test_newer_stages_of_another_text_encoder_do_not_hide_those_that_fit(stages, tmp_path):
    runs, shipped = tmp_path / "runs", tmp_path / "shipped"
    for age, (role, name) in enumerate([("sr1", "other"), ("sr1", "mine"), ("base", "mine")]):
        folder = runs / role / name / "export"
        shutil.copytree(Path(stages[0]).parent / role, folder)
        os.utime(folder / "config.json", (1000 - age, 1000 - age))
    config = runs / "sr1" / "other" / "export" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"text": {"model": "another"}}))
    assert find_stages(runs, shipped) == [runs / "base" / "mine" / "export", runs / "sr1" / "mine" / "export"]


def test_a_run_asked_for_by_name_that_is_missing_or_does_not_fit_is_refused(stages, tmp_path):
    runs, shipped = tmp_path / "runs", tmp_path / "shipped"
    for name in ("base", "sr1"):
        shutil.copytree(Path(stages[0]).parent / name, runs / name / "mine" / "export")
    assert len(find_stages(runs, shipped, ["mine"])) == 2
    with pytest.raises(UserError, match=r"my_sr_typo/export is missing"):
        find_stages(runs, shipped, ["mine", "my_sr_typo"])
    export_random_stage(runs / "sr2" / "odd" / "export", "sr2", 64, 32)
    with pytest.raises(UserError, match=r"sr2/odd/export does not fit behind .*sr1/mine/export"):
        find_stages(runs, shipped, ["mine", "odd"])


@pytest.mark.slow
def test_a_sweep_measures_every_weight_and_goes_on_where_it_stopped(compose_config, stages, tmp_path):
    config = compose_config(
        "evaluate", *FAST, f"cascade.stages=[{','.join(stages)}]", "guidance.weights=[1,3]", "prompts.count=12",
        "block_size=6", f"out={tmp_path}/out", "metrics.reference.count=40", "grid_prompts=2",
    )  # fmt: skip
    evaluate(config)
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert {float(row["guidance_weight"]) for row in rows if row["guidance_weight"]} == {1.0, 3.0}
    results = json.loads((out / "results.json").read_text())
    assert results["comparable_to_published"] is False
    assert (out / "pareto.png").stat().st_size > 1000
    kept = [*(out / "blocks").rglob("*.safetensors"), out / "strips.safetensors"]
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert_the_strips_end_in_the_pictures_of_the_cells(out)
    evaluate(config)
    assert times == {path: path.stat().st_mtime_ns for path in kept}
    page = (out / "report.html").read_text()
    assert page.count("estimates of x0") == 2  # a strip picture of each stage


def test_a_sweep_does_not_go_on_when_a_stage_is_described_in_another_way(compose_config, stages, tmp_path):
    folders = [shutil.copytree(stage, tmp_path / Path(stage).name) for stage in stages]
    config = compose_config(
        "evaluate", *FAST, f"cascade.stages=[{','.join(map(str, folders))}]", "guidance=single", "guidance.weights=[3]",
        "prompts.count=6", "block_size=6", f"out={tmp_path}/out", "metrics.reference.count=8", "grid_prompts=2",
    )  # fmt: skip
    evaluate(config)
    path, out = folders[0] / "config.json", tmp_path / "out"
    as_it_was, results = path.read_text(), (out / "results.json").read_bytes()
    fields = json.loads(as_it_was)
    path.write_text(json.dumps(fields | {"schedule": fields["schedule"] | {"log_snr_max": 3.0}}))
    with pytest.raises(UserError, match=r"was begun with curves\.dynamic\.stages\[0\]\.stage_sha256="):
        evaluate(config)
    (out / "evaluation.json").unlink()  # as in a folder of an earlier version: what is there is not taken for ours
    (out / "results.json").unlink()
    for kept in out.glob("*.*"):
        kept.unlink()
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    evaluate(config)
    assert json.loads((out / "timing.json").read_text())["pictures_reused"] == 12  # the controls alone
    assert (out / "results.json").read_bytes() != results
    assert_the_strips_end_in_the_pictures_of_the_cells(out, ["dynamic-w3.0"])


def assert_the_strips_end_in_the_pictures_of_the_cells(out, cells=("dynamic-w1.0", "dynamic-w3.0")):
    pictures = read_archive(out).pictures
    with safe_open(out / "strips.safetensors", framework="pt") as file:
        weights, prompts, moments = file.get_slice("base").get_shape()[:3]
        last = file.get_tensor("sr1")[:, :, -1]
    assert (weights, prompts, moments) == (len(cells), 3, 2)
    for row, cell in enumerate(cells):
        difference = last[row, :2].int() - pictures[cell].int()
        assert difference.abs().max() <= 1  # another batch size may round otherwise
