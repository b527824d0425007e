"""`make demo` fits into its time and resumes where it stopped."""

import time

import pytest
from small_configurations import SMALL

from imagen.app import demo
from imagen.app.train import train
from imagen.runs.pace import StepTimer, seconds_per_step


def test_a_step_is_timed_and_nothing_is_kept(compose_config, tmp_path):
    started = time.monotonic()
    seconds = seconds_per_step(compose_config("train", *SMALL), seconds=0.5)
    assert 0 < seconds * StepTimer.FEWEST / 2 < time.monotonic() - started
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_minutes_that_cannot_be_are_refused_in_one_line(minutes, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["imagen demo", f"--minutes={minutes}"])
    with pytest.raises(SystemExit) as caught:
        demo.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: --minutes {float(minutes):g}: give a number above 0\n"


@pytest.fixture
def begun(compose_config, tmp_path):
    """A demo whose base stage was trained for 2 of the steps that it was to take."""

    def begin(steps: int) -> None:
        train(compose_config("train", *SMALL, "name=demo", "trainer.max_steps=2"))
        config = tmp_path / "runs" / "base" / "demo" / "config.yaml"
        config.write_text(config.read_text().replace("max_steps: 2", f"max_steps: {steps}"))

    return begin


@pytest.fixture
def paced(monkeypatch):
    """Steps of 0.25 s for the base stage and 0.1 s for the other; a list of what was asked for."""
    asked = []

    def paces(_, stages):
        asked.extend(stages)
        return {stage: {"base": 0.25, "sr1": 0.1}[stage] for stage in stages}

    monkeypatch.setattr(demo, "paces", paces)
    return asked


def test_a_finished_stage_is_neither_timed_nor_trained_again(begun, paced, tmp_path):
    begun(steps=2)
    assert demo.trainings(demo.SHAPES, 14.0, tmp_path).keys() == {"sr1"}
    assert paced == ["sr1"]


def test_an_interrupted_stage_is_trained_to_the_length_it_was_begun_with(begun, paced, tmp_path):
    begun(steps=40)
    command = demo.trainings(demo.SHAPES, 14.0, tmp_path)["base"]
    assert "trainer.max_steps=40 trainer.val_check_interval=10 " in command


def test_the_steps_of_new_stages_take_the_same_share_of_the_minutes(paced, tmp_path):
    commands = demo.trainings(demo.SHAPES, 10.0, tmp_path)
    seconds = 10 * 60 * demo.SHARE_OF_TIME
    assert f"trainer.max_steps={round(seconds / 0.25)} " in commands["base"]
    assert f"trainer.max_steps={round(seconds / 0.1)} " in commands["sr1"]


def test_a_step_that_fails_ends_the_demo_with_its_code(capfd):
    with pytest.raises(SystemExit) as stopped:
        demo.take("Train", lambda: demo.run("train.py stage=nonsense"))
    assert stopped.value.code == 2
    assert "Train failed with exit code 2" in capfd.readouterr().err
