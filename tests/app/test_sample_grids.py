"""The steps at which training draws sample grids."""

import os
import signal

import pytest
from small_configurations import SMALL

from imagen.app.train import train
from imagen.callbacks.sample_grid import SampleGrid
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.stages.diffusion_stage import DiffusionStage


@pytest.mark.parametrize(
    ("steps", "drawn"),
    [
        (2, {1, 2}),
        (10, {1, 2, 4, 6, 8}),
        (300, {15, 30, 60, 120, 180, 240}),
        (20_000, {1000, 2000, 4000, 8000, 12_000, 16_000}),
    ],
)
def test_the_first_grid_comes_after_a_twentieth_of_the_run_whatever_its_length(steps, drawn, compose_config):
    grid = instantiate(compose_config("train").callbacks.samples)
    assert {step for step in range(steps + 1) if grid.due(step, steps)} == drawn


def test_every_so_many_steps_takes_the_place_of_the_shares(compose_config):
    grid = instantiate(compose_config("train", "callbacks.samples.every_n_steps=4").callbacks.samples)
    assert [step for step in range(13) if grid.due(step, 100)] == [4, 8, 12]


@pytest.mark.parametrize("shares", ["[0,0.5]", "[1.5]", "[-1]"])
def test_a_share_out_of_range_is_refused(shares, compose_config):
    with pytest.raises(UserError, match=r"callbacks\.samples\.shares=.* above 0 and up to 1"):
        instantiate(compose_config("train", f"callbacks.samples.shares={shares}").callbacks.samples)


def test_an_interrupted_run_draws_the_grids_of_an_uninterrupted_one_each_once(compose_config, monkeypatch, capsys):
    drawn, step, draw = [], DiffusionStage.training_step, SampleGrid._draw

    def noted(grid, trainer, stage):
        drawn.append(trainer.global_step)
        draw(grid, trainer, stage)

    monkeypatch.setattr(SampleGrid, "_draw", noted)
    config = compose_config(
        "train", *SMALL, "callbacks.samples.every_n_steps=null", "callbacks.samples.shares=[0.25,0.5]", "logger=none",
        "trainer.accumulate_grad_batches=2", "trainer.limit_val_batches=0", "trainer.max_steps=8",
    )  # fmt: skip

    def signalled(self, batch, batch_idx):
        if batch.position in (6, 11):  # in steps 4 and 6
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(DiffusionStage, "training_step", signalled)
        for saved in (4, 6):
            with pytest.raises(SystemExit):
                train(config)
            assert f"\nsaved at step {saved}; the same command goes on\n" in "\n" + capsys.readouterr().out
    train(config)
    assert drawn == [2, 4, 8]
