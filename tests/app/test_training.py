"""Training by the command's own code path: every stage, its files, resuming, and refusals."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from png_settings import read_settings
from safetensors.torch import load_file
from small_configurations import SMALL, TINY_NETWORK

from imagen.app.export import export
from imagen.app.train import train
from imagen.errors import UserError
from imagen.runs.folder import RunFolder
from imagen.runs.weights import AVERAGED, RAW, load_weights
from imagen.stages import lr


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("base", []),
        ("sr1", []),
        ("sr2", []),
        ("base_with_picture", ["data.train.outlines=true"]),
        ("base_self_conditioned", []),
    ],
)
def test_every_stage_trains_validates_draws_and_exports(stage, options, compose_config):
    config = compose_config("train", f"stage={stage}", *SMALL, *options)
    train(config)
    run = Path(config.run_dir)
    assert_tensorboard_begins_with_what_one_wants_to_see(run, config)
    assert read_settings(run / "samples" / "step_0000002.png")["weights"] == [1, 2]
    description = json.loads((run / "export" / "config.json").read_text())
    assert (description["name"], description["step"]) == (stage.partition("_")[0], 2)
    assert load_file(run / "export" / "model.safetensors")
    again = export(run, run / "from the checkpoint")
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (run / "export" / name).read_bytes()
    with pytest.raises(UserError, match="holds an exported stage already; give another --out"):
        export(run, again)
    assert_raw_and_averaged_weights_can_be_sampled(run)


def flat_weights(path, kind):
    denoiser = load_weights(path, kind, torch.device("cpu")).model.denoiser
    return torch.cat([weight.flatten() for weight in denoiser.parameters()])


def assert_raw_and_averaged_weights_can_be_sampled(run):
    checkpoint = run / "checkpoints" / "last.ckpt"
    places = [(run / "export", AVERAGED), (checkpoint, AVERAGED), (checkpoint, RAW), (run / "export", RAW)]
    exported, averaged, raw, raw_of_export = (flat_weights(*place) for place in places)
    assert torch.equal(exported, averaged)
    assert torch.equal(raw, raw_of_export)
    assert not torch.equal(raw, averaged)


def assert_tensorboard_begins_with_what_one_wants_to_see(run, config):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    log = EventAccumulator(str(run))
    log.Reload()
    content = log.summary_metadata["_hparams_/experiment"].plugin_data.content
    columns = [info.name for info in HParamsPluginData.FromString(content).experiment.hparam_infos]
    assert columns[:7] == ["name", "stage", "resolution", "lr", "batch_size", "max_steps", "seed"]
    content = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    started = HParamsPluginData.FromString(content).session_start_info.hparams
    assert started["stage"].string_value == config.stage.name
    assert started["lr"].number_value == config.stage.optimizer.lr
    scalars = log.Tags()["scalars"]
    assert sorted(scalars + log.Tags()["images"])[:3] == ["loss/train", "loss/validation", "samples"]
    assert "train/learning_rate" in scalars
    assert all(math.isfinite(event.value) for tag in scalars for event in log.Scalars(tag))


def test_what_was_not_validated_is_not_shown_as_nan(compose_config, capsys):
    quick = ["callbacks=minimal", "logger=csv", "trainer.max_steps=2", "trainer.limit_val_batches=0"]
    config = compose_config("train", *SMALL, *quick)
    train(config)
    shown = capsys.readouterr().out
    assert shown.startswith("step 2/2  train/loss 0.")
    assert "nothing was validated in so few steps" in shown
    assert f"curves: {config.run_dir}/csv/metrics.csv" in shown
    assert "nan" not in (shown + Path(config.run_dir, "csv", "metrics.csv").read_text()).lower()


def test_a_warm_up_longer_than_the_run_is_a_tenth_of_it_and_a_resumed_run_has_the_same_rates(compose_config, caplog):
    def rates(name: str, *lengths: int) -> list[str]:
        for steps in lengths:
            quick = [f"trainer.max_steps={steps}", "stage.lr_schedule.total_steps=20", "trainer.limit_val_batches=0"]
            config = compose_config(
                "train", *SMALL, "callbacks=minimal", "logger=csv", *quick, "stage.lr_schedule.warmup_steps=200",
                "callbacks.last.every_n_train_steps=1", f"name={name}",
            )  # fmt: skip
            train(config)
        rows = csv.DictReader(Path(config.run_dir, "csv", "metrics.csv").read_text().splitlines())
        return [row["train/learning_rate"] for row in rows]

    lr._announce.__wrapped__.cache_clear()
    whole = rates("whole", 5)
    assert [round(float(rate) / max(map(float, whole)), 3) for rate in whole[:3]] == [0.333, 0.667, 1.0]
    assert rates("parts", 3, 5) == whole
    line = "warms up in 2 steps: stage.lr_schedule.warmup_steps=200 is longer than the run of 20"
    assert caplog.text.count(line) == 1


def test_what_is_not_a_run_cannot_be_exported(compose_config, tmp_path):
    with pytest.raises(UserError, match=r"not the folder of a run: config\.yaml is missing"):
        export(tmp_path)
    (tmp_path / "config.yaml").write_text("stage: {}\n")
    with pytest.raises(UserError, match=r"config\.yaml: not the configuration of a run"):
        export(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "overrides", "expected"),
    [
        (["stage.optimizer.lr=1e-4,3e-4"], [], r"share one folder; vary name as well"),
        (["stage.optimizer.lr=1e-4,3e-4", "name=lr${stage.optimizer.lr}"], ["trainer.devices=2"], "with 2 processes"),
        (["name=a,b"], ["trainer.num_nodes=2"], "with 2 processes"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused(arguments, overrides, expected, compose_config, monkeypatch):
    config = compose_config("train", *SMALL, "logger=none", *(f"+{o}" if "nodes" in o else o for o in overrides))
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    monkeypatch.setattr("imagen.app.train.is_multirun", lambda: True)
    with pytest.raises(UserError, match=expected):
        train(config)


def weights_after(compose_config, name, *overrides):
    config = compose_config(
        "train", *SMALL, "callbacks=minimal", "callbacks.last.every_n_train_steps=1", f"name={name}", *overrides
    )
    train(config)
    return torch.load(f"{config.run_dir}/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize(("accumulate", "optimizer"), [(1, "adamw"), (2, "adamw"), (1, "muon"), (1, "adafactor")])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(accumulate, optimizer, compose_config):
    more = [
        f"trainer.accumulate_grad_batches={accumulate}",
        f"stage/optimizer={optimizer}",
        "stage.lr_schedule.total_steps=4",
    ]
    whole = weights_after(compose_config, "whole", "trainer.max_steps=4", *more)
    weights_after(compose_config, "parts", "trainer.max_steps=2", *more)
    parts = weights_after(compose_config, "parts", "trainer.max_steps=4", *more)
    assert whole["state_dict"].keys() == parts["state_dict"].keys()
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name
    for mine, other in zip(
        whole["optimizer_states"][0]["state"].values(), parts["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(torch.equal(torch.as_tensor(mine[key]), torch.as_tensor(other[key])) for key in mine)


def test_a_run_refuses_to_resume_under_another_configuration_or_when_finished(compose_config):
    weights_after(compose_config, "run", "trainer.max_steps=1")
    with pytest.raises(UserError, match=r"finished: 1 of 1 steps.*trainer\.max_steps"):
        weights_after(compose_config, "run", "trainer.max_steps=1")
    with pytest.raises(UserError, match=r"stage\.text_dropout=0\.1 and cannot resume with stage\.text_dropout=0\.2"):
        weights_after(compose_config, "run", "trainer.max_steps=2", "stage.text_dropout=0.2")
    changed = ["stage.text_dropout=0.2", "may_change=[stage.text_dropout]"]
    assert weights_after(compose_config, "run", "trainer.max_steps=2", *changed)["global_step"] == 2


def test_a_run_may_resume_where_its_caches_and_text_encoder_lie_elsewhere(compose_config, tmp_path):
    shards = ["data=webdataset", "data.path=/shards"]
    run = RunFolder(tmp_path / "run")
    run.last_checkpoint.parent.mkdir(parents=True)
    run.keep_configuration(compose_config("train", *shards))
    run.last_checkpoint.write_bytes(b"")
    moved = [f"paths.cache={tmp_path}/elsewhere", f"paths.assets={tmp_path}/assets"]
    run.keep_configuration(compose_config("train", *shards, *moved))
    with pytest.raises(UserError, match=r"text\.encoder\.max_length=128 and cannot resume"):
        run.keep_configuration(compose_config("train", *shards, "text.encoder.max_length=64"))


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
