"""Training by the command's own code path: every stage, its files, resuming, refusing."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import TINY_NETWORK
from safetensors.torch import load_file

from imagen.app.export import export
from imagen.app.train import train
from imagen.errors import UserError
from imagen.pictures import read_settings

SMALL = [
    *TINY_NETWORK,
    "debug=default",
    "text.mode=online",
    "data.batch_size=4",
    "data.train.size=64",
    "data.validation.size=4",
    "resolutions=[8,16,32]",
    "trainer.accelerator=cpu",
]


@pytest.mark.parametrize("stage", ["base", "sr1", "sr2"])
def test_every_stage_trains_validates_draws_and_exports(stage, compose_config):
    config = compose_config("train", f"stage={stage}", *SMALL)
    train(config)
    run = Path(config.run_dir)
    assert list(run.glob("events.out.tfevents.*"))
    assert read_settings(run / "samples" / "step_0000002.png")["weights"] == [1, 2]
    description = json.loads((run / "export" / "config.json").read_text())
    assert (description["name"], description["step"]) == (stage, 2)
    assert load_file(run / "export" / "model.safetensors")
    again = export(run, run / "from the checkpoint")
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (run / "export" / name).read_bytes()


def test_what_is_not_a_run_cannot_be_exported(compose_config, tmp_path):
    with pytest.raises(UserError, match=r"not the folder of a run: config\.yaml is missing"):
        export(tmp_path)
    (tmp_path / "config.yaml").write_text("stage: {}\n")
    with pytest.raises(UserError, match=r"last\.ckpt does not exist"):
        export(tmp_path)


def weights_after(compose_config, name, *overrides):
    config = compose_config(
        "train", *SMALL, "callbacks=minimal", "callbacks.last.every_n_train_steps=1", f"name={name}", *overrides
    )
    train(config)
    return torch.load(f"{config.run_dir}/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(accumulate, compose_config):
    more = [f"trainer.accumulate_grad_batches={accumulate}", "stage.lr_schedule.total_steps=4"]
    whole = weights_after(compose_config, "whole", "trainer.max_steps=4", *more)
    weights_after(compose_config, "parts", "trainer.max_steps=2", *more)
    parts = weights_after(compose_config, "parts", "trainer.max_steps=4", *more)
    assert whole["state_dict"].keys() == parts["state_dict"].keys()
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name
    for mine, other in zip(
        whole["optimizer_states"][0]["state"].values(), parts["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_a_run_refuses_to_resume_under_another_configuration_or_when_finished(compose_config):
    weights_after(compose_config, "run", "trainer.max_steps=1")
    with pytest.raises(UserError, match=r"finished: 1 of 1 steps.*trainer\.max_steps"):
        weights_after(compose_config, "run", "trainer.max_steps=1")
    with pytest.raises(UserError, match=r"stage\.text_dropout=0\.1 and cannot resume with stage\.text_dropout=0\.2"):
        weights_after(compose_config, "run", "trainer.max_steps=2", "stage.text_dropout=0.2")
    changed = ["stage.text_dropout=0.2", "may_change=[stage.text_dropout]"]
    assert weights_after(compose_config, "run", "trainer.max_steps=2", *changed)["global_step"] == 2


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_update(compose_config, monkeypatch):
    from imagen.diffusion.denoiser import Denoiser

    healthy = Denoiser.loss
    calls = []

    def sick(self, *args):
        calls.append(1)
        return healthy(self, *args) * (float("nan") if self.training and len(calls) > 2 else 1.0)

    monkeypatch.setattr(Denoiser, "loss", sick)
    with pytest.raises(UserError, match=r"gradient is nan at batch 2 \(examples \["):
        weights_after(compose_config, "sick", "trainer.max_steps=4", "trainer.limit_val_batches=0")
    config = compose_config("train", *SMALL, "name=sick")
    state = torch.load(f"{config.run_dir}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_overfitting_one_batch_drives_its_loss_down(compose_config):
    config = compose_config(
        "train", *TINY_NETWORK, "debug=overfit", "text.mode=online", "resolutions=[8,16,32]", "callbacks=minimal",
        "trainer.max_steps=100", "stage.optimizer.lr=5e-3",
        "data.train.size=2", "data.batch_size=16", "trainer.log_every_n_steps=1", "logger=csv",
    )  # fmt: skip
    train(config)
    rows = list(csv.DictReader(Path(config.run_dir, "csv", "metrics.csv").read_text().splitlines()))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert sum(losses[-10:]) / 10 < 0.7 * losses[0]
