"""Names of runs: one rule, checked before a folder is made, and a number is a name too."""

import sys

import pytest
from small_configurations import SMALL

from imagen.app.ablation import read_ablation
from imagen.app.sample import sample
from imagen.app.train import train
from imagen.checks.names import as_name
from imagen.commandline.command import command, run_reporting_errors
from imagen.errors import UserError
from imagen.runs.find import find_stages

QUICK = [*SMALL, "callbacks=minimal", "logger=none", "trainer.max_steps=1", "trainer.limit_val_batches=0"]


@pytest.mark.parametrize(
    "name", ["set/one", "../esc", "", ".hidden", "/abs", "a b", "a\x1b[2J", "null", "true", "x" * 101]
)
def test_a_name_that_is_none_is_refused_before_any_folder_is_made(name, tmp_path, monkeypatch, capsys):
    quoted = name if name in ("null", "true") else f"'{name}'"
    monkeypatch.setattr(sys, "argv", ["train.py", f"name={quoted}", f"paths.runs={tmp_path / 'runs'}"])
    with pytest.raises(SystemExit) as ended:
        command("train")(lambda config: pytest.fail("the training has begun"))()
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert said.startswith("error: name=")
    assert "is not a name: use 1 to 100 letters" in said
    assert "\x1b" not in said
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_stage_is_held_to_the_same_rule(compose_config, tmp_path, capsys):
    config = compose_config("train", *QUICK, "stage.name='../../esc'")
    assert run_reporting_errors(lambda: train(config), "train") == 2
    assert "error: stage.name='../../esc' is not a name" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "name"), [(2024, "2024"), (1.5, "1.5"), ("2024", "2024")])
def test_a_number_is_taken_as_its_text(value, name):
    assert as_name(value, "name") == name


@pytest.mark.parametrize("value", [None, True, ["a"], {}, ""])
def test_what_is_no_text_and_no_number_is_no_name(value):
    with pytest.raises(UserError, match="is not a name"):
        as_name(value, "name")


def test_a_run_whose_name_is_a_number_is_found_by_that_number(compose_config, tmp_path, capsys):
    train(compose_config("train", *QUICK, "name=2024"))
    assert (tmp_path / "runs" / "base" / "2024" / "export").is_dir()
    few = ["prompt=a red circle", "count=1", "sampler.num_steps=1", "cascade.device=cpu"]
    sample(compose_config("sample", *few, "cascade.runs=[2024]", f"out={tmp_path / 'out'}"))
    assert "runs/base/2024/export" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"cascade\.runs='\.\./x' is not a name"):
        sample(compose_config("sample", *few, "cascade.runs=['../x']", f"out={tmp_path / 'out'}"))


def test_a_folder_on_disk_that_has_no_name_of_a_run_is_left_out_and_named(compose_config, tmp_path, caplog):
    train(compose_config("train", *QUICK, "name=good"))
    runs = tmp_path / "runs"
    (runs / "base" / "good").rename(runs / "base" / "not\x1b[2J good")
    assert find_stages(runs, tmp_path) == []
    assert "not\\x1b[2J good is skipped: its name is no name for a run; rename the folder" in caplog.text


def test_the_names_of_an_ablation_are_checked(tmp_path):
    arm = "{run: base/a, train: null, evaluation: ../../x, evaluate: '', curve: static}"
    file = tmp_path / "mine.yaml"
    file.write_text(f"title: t\npaper: null\nacross: null\nvalues: [1]\nprepare: {{}}\ncurves: {{one: {arm}}}\n")
    with pytest.raises(UserError, match=r"evaluation='\.\./\.\./x' is not a name"):
        read_ablation(file)
    file.write_text(file.read_text().replace("../../x", "x").replace("base/a", "../a"))
    with pytest.raises(UserError, match=r"run='\.\.' is not a name"):
        read_ablation(file)
