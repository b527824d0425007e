"""`make demo`: fits into its time, goes on where it stopped."""

import time

import pytest
from test_training import SMALL

from imagen.app import demo
from imagen.app.pace import seconds_per_step
from imagen.app.train import train


def test_a_step_is_timed_and_nothing_is_kept(compose_config, tmp_path):
    started = time.monotonic()
    seconds = seconds_per_step(compose_config("train", *SMALL), steps=6)
    assert 0 < 3 * seconds < time.monotonic() - started  # the slower half of six steps took no longer than all
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def begun(compose_config, tmp_path):
    """A demo whose base stage was trained for 2 of the steps that it was to take."""

    def begin(steps: int) -> None:
        train(compose_config("train", *SMALL, "name=demo", "trainer.max_steps=2"))
        config = tmp_path / "runs" / "base" / "demo" / "config.yaml"
        config.write_text(config.read_text().replace("max_steps: 2", f"max_steps: {steps}"))

    return begin


def test_a_finished_stage_is_not_trained_again(begun, tmp_path):
    begun(steps=2)
    assert demo.training("base", minutes=14.0, root=tmp_path) is None


def test_an_interrupted_stage_is_trained_to_the_length_it_was_begun_with(begun, tmp_path):
    begun(steps=40)
    command = demo.training("base", minutes=14.0, root=tmp_path)
    assert "trainer.max_steps=40 trainer.val_check_interval=10 " in command


def test_the_steps_of_a_new_stage_take_its_share_of_the_minutes(monkeypatch, tmp_path):
    monkeypatch.setattr("imagen.app.pace.seconds_per_step", lambda config: 0.25)
    command = demo.training("base", minutes=10.0, root=tmp_path)
    assert f"trainer.max_steps={round(10 * 60 * demo.SHARE_OF_TIME['base'] / 0.25)} " in command


def test_a_command_that_fails_ends_the_demo_with_its_code(capfd):
    with pytest.raises(SystemExit) as stopped:
        demo.run_step("Train", "train.py stage=nonsense")
    assert stopped.value.code == 2
    assert "Train failed with exit code 2" in capfd.readouterr().err
