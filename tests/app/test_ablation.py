"""The ablation command from an empty folder to a plot, by its own code path except the processes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from small_configurations import TINY_NETWORK, options

from imagen.app.ablation import (
    ABLATIONS,
    Ablation,
    Arm,
    Workplace,
    check_before,
    commands,
    finished,
    read_ablation,
    run_ablation,
)
from imagen.app.evaluate import evaluate
from imagen.app.train import train
from imagen.errors import UserError
from imagen.places import ROOT

TINY_TRAINING = (
    *TINY_NETWORK,
    "trainer.max_steps=2",  # the experiment is composed after debug=default and would undo it
    "trainer.val_check_interval=2",
    "trainer.limit_val_batches=1",
    "trainer.precision=32-true",
    "logger=none",
    "text.mode=online",
    "data.batch_size=2",
    "data.train.size=8",
    "data.validation.size=2",
    "trainer.accelerator=cpu",
    "stage.lr_schedule.warmup_steps=1",
    "callbacks.samples=null",
)
TINY_EVALUATION = (
    "prompts.count=4",
    "metrics.reference.count=8",
    "block_size=4",
    "sampler.num_steps=2",
    "guidance.weights=[1,2]",
    "~metrics.judges.b",
)


def in_this_process(arguments: Sequence[str]) -> int:
    """Instead of a new one, which would import everything again."""
    entry, *overrides = arguments
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose(Path(entry).stem, overrides=overrides)
    {"train.py": train, "evaluate.py": evaluate}[entry](config)
    return 0


def one_bag_of_words() -> Ablation:
    arguments = "experiment=ablation_base text=bag_of_words"
    sweep = "experiment=ablation_sweep text=bag_of_words cascade.runs=[bag]"
    arm = Arm("bag of words", "base/bag", arguments, "bag", sweep, "dynamic")
    return Ablation("Text encoder", "a_encoder", None, [], {}, [arm])


def test_an_ablation_trains_measures_and_draws(tmp_path):
    place = Workplace(tmp_path, TINY_TRAINING, TINY_EVALUATION)
    run_ablation("text", one_bag_of_words(), place, tmp_path / "docs", in_this_process)
    lines = (tmp_path / "docs" / "text.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| Text encoder | w | `checker[all]` | ")
    assert [line.split(" | ")[:2] for line in lines[2:4]] == [["| bag of words", "1"], ["| bag of words", "2"]]
    assert lines[4].startswith("| real pictures |  | 0.75 | 1 | ")
    with Image.open(tmp_path / "docs" / "text.png") as picture:
        assert picture.width > 1000
    left = list(commands(one_bag_of_words(), place))
    assert [arguments[0] for arguments in left] == ["evaluate.py"]  # the training is not repeated
    saved = tmp_path / "runs" / "base" / "bag" / "config.yaml"
    saved.write_text(saved.read_text().replace("max_steps: 2\n", "max_steps: 3\n"))
    left = list(commands(one_bag_of_words(), place))
    assert [arguments[0] for arguments in left] == ["train.py", "evaluate.py"]  # what was exported on the way


def never(arguments: Sequence[str]) -> int:
    raise AssertionError(f"{arguments} was run")


@pytest.mark.parametrize(
    ("whole", "of_the_arm", "expected"),
    [
        ({"paper": "z_nothing"}, {}, "no panel 'z_nothing'"),
        ({}, {"evaluation": "../elsewhere"}, "bag of words: evaluation='../elsewhere' is not a name"),
        ({}, {"curve": "x/../y"}, "bag of words: the label 'x/../y' cannot name a file"),
        ({}, {"evaluation": "there"}, "there is of another training than base/bag, which is not finished; remove it"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_trained(tmp_path, whole, of_the_arm, expected):
    (tmp_path / "outputs" / "evaluation" / "there").mkdir(parents=True)
    ablation = one_bag_of_words()
    ablation = replace(ablation, arms=[replace(ablation.arms[0], **of_the_arm)], **whole)
    with pytest.raises(UserError) as caught:
        run_ablation("text", ablation, Workplace(tmp_path), tmp_path / "docs", never)
    assert expected in str(caught.value)


def test_one_evaluation_is_not_made_in_two_ways(tmp_path):
    ablation = one_bag_of_words()
    two = replace(ablation, arms=[*ablation.arms, replace(ablation.arms[0], label="other", evaluate="seed=1")])
    with pytest.raises(UserError, match="other: evaluation bag is another one of the curves"):
        run_ablation("text", two, Workplace(tmp_path), tmp_path / "docs", never)


@pytest.mark.parametrize("name", options("ablation"))
def test_every_ablation_says_what_it_is_and_all_its_commands_compose(name, tmp_path):
    text = (ABLATIONS / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"# Command: imagen ablation {name}\n" in text
    assert text.startswith("# What: ")
    ablation, place = read_ablation(ABLATIONS / f"{name}.yaml"), Workplace(tmp_path)
    check_before(ablation, place)
    evaluations = {name for arm in ablation.arms for name in ablation.evaluations(arm)}
    composed = []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for entry, *overrides in commands(ablation, place):
            if entry != "-m":
                composed.append((entry, compose(Path(entry).stem, overrides=overrides).name))
    runs = {Path(arm.run).name for arm in ablation.arms if arm.run}
    assert sorted(composed) == sorted([("train.py", run) for run in runs] + [("evaluate.py", e) for e in evaluations])


def test_only_finished_curves_are_drawn(tmp_path, capsys):
    ablation, place = read_ablation(ABLATIONS / "augmentation.yaml"), Workplace(tmp_path)
    with pytest.raises(UserError, match="no curve is finished"):
        finished(ablation, place.evaluations)
    for name in ablation.evaluations(ablation.arms[0]):
        (place.evaluations / name).mkdir(parents=True)
        (place.evaluations / name / "results.json").write_text("{}")
    assert [arm.label for arm in finished(ablation, place.evaluations).arms] == ["trained with it"]
    assert capsys.readouterr().out == "left out, not finished: trained without\n"


def test_a_command_that_fails_stops_the_ablation(tmp_path):
    with pytest.raises(UserError, match="command 1 ended with exit code 2"):
        run_ablation("text", one_bag_of_words(), Workplace(tmp_path), tmp_path, lambda arguments: 2)


def test_an_ablation_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="no ablation text_encodr: choose one of augmentation, self_conditioning, t"):
        read_ablation(ABLATIONS / "text_encodr.yaml")
    (tmp_path / "odd.yaml").write_text("title: Odd\ncurves: {one: {run: base/one}}\n")
    with pytest.raises(UserError, match=r"odd\.yaml: not an ablation"):
        read_ablation(tmp_path / "odd.yaml")
