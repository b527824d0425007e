"""The changes with which a run may resume, and how the run records them."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from small_configurations import SMALL

from imagen.app.export import export
from imagen.app.train import train
from imagen.errors import UserError
from imagen.runs.folder import RunFolder
from imagen.runs.resuming import FREE_WITHIN_KEPT, KEPT
from imagen.stages.checkpoint_io import AtomicCheckpointIO

ACCUMULATE = "trainer.accumulate_grad_batches"


@pytest.fixture
def run(compose_config):
    """run("trainer.max_steps=3"): trains, or goes on with, the one run there is; its folder."""

    def trained(*overrides: str) -> Path:
        config = compose_config(
            "train", *SMALL, "callbacks=minimal", "logger=none", "trainer.limit_val_batches=0", *overrides
        )
        train(config)
        return Path(config.run_dir)

    return trained


def checkpoint(folder: Path) -> dict:
    return torch.load(RunFolder(folder).last_checkpoint, weights_only=True)


@pytest.mark.parametrize(
    ("first", "then", "key", "seen"),
    [
        ([], ["trainer.accumulate_grad_batches=2"], ACCUMULATE, 3 * 4 + 4 * 8),
        (["trainer.accumulate_grad_batches=3"], ["trainer.accumulate_grad_batches=2"], ACCUMULATE, 3 * 12 + 4 * 8),
        (["data.batch_size=12"], ["data.batch_size=2"], "data.batch_size", 3 * 12 + 4 * 2),
    ],
)
def test_pictures_are_counted_and_not_derived_from_the_present_configuration(first, then, key, seen, run):
    run("trainer.max_steps=3", *first)
    with pytest.raises(UserError, match=rf"was started with {key}=\d+ and cannot resume with {key}=\d; .*may_change"):
        run("trainer.max_steps=7", *then)
    folder = run("trainer.max_steps=7", *then, f"may_change=[{key}]")
    again = export(folder, folder / "again")
    for exported in (folder / "export", again):
        assert json.loads((exported / "config.json").read_text())["images_seen"] == seen
        assert f"7 optimizer steps, {seen} images seen" in (exported / "README.md").read_text()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("trainer.gradient_clip_val=1.0", "trainer.gradient_clip_val=0.5"),
        ("trainer.precision=32-true", "trainer.precision=bf16-mixed"),
        ("trainer.devices=1", "trainer.devices=2"),
        ("+trainer.deterministic=true", "+trainer.deterministic=false"),
        ("+trainer.limit_train_batches=1.0", "+trainer.limit_train_batches=7"),
        ("stage.lr_schedule.warmup_steps=0", "stage.lr_schedule.warmup_steps=1"),
    ],
)
def test_what_changes_the_numbers_is_refused_unless_named(before, now, compose_config, tmp_path):
    run, (key, value) = begun(compose_config, tmp_path, before), now.removeprefix("+").split("=")
    with pytest.raises(UserError, match=rf"cannot resume with {key}={value}".replace("=false", "=False")):
        run.keep_configuration(compose_config("train", *SMALL, now))
    run.keep_configuration(compose_config("train", *SMALL, now, f"may_change=[{key}]"))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["trainer=ddp_sim"], ["trainer=cpu", ACCUMULATE + "=2"]),
        (["trainer=cpu", ACCUMULATE + "=8"], ["trainer=slurm", "trainer.devices=2", "trainer.num_nodes=4"]),
        (["trainer=ddp", "trainer.devices=2", ACCUMULATE + "=2"], ["trainer=fsdp", "trainer.devices=4"]),
    ],
)
def test_the_batches_of_a_step_may_be_shared_out_among_processes_otherwise(before, now, compose_config, tmp_path):
    same = ["trainer.accelerator=cpu", "~trainer.plugins"]
    run = begun(compose_config, tmp_path, *before, "trainer.accelerator=cpu")
    now = [*now, *(same if "trainer=slurm" in now else same[:1])]
    run.keep_configuration(compose_config("train", *SMALL, *now))
    with pytest.raises(UserError, match=r"batches=\d and cannot resume .* keep processes × trainer\.acc"):
        run.keep_configuration(compose_config("train", *SMALL, *now, ACCUMULATE + "=3"))


def begun(compose_config, folder: Path, *overrides: str) -> RunFolder:
    """A run that was started with `overrides` and has a checkpoint."""
    run = RunFolder(folder / "begun")
    run.last_checkpoint.parent.mkdir(parents=True)
    run.keep_configuration(compose_config("train", *SMALL, *overrides))
    run.last_checkpoint.write_bytes(b"")
    return run


def test_what_decides_no_number_may_change(compose_config, tmp_path):
    run = begun(compose_config, tmp_path)
    changes = [
        "trainer.max_steps=9", "trainer.val_check_interval=3", "trainer.limit_val_batches=2", "logger=csv",
        "trainer.log_every_n_steps=2", "callbacks=minimal", "+trainer.max_time=00:01:00:00", "data.num_workers=1",
        "data.bad_pictures.check_first=true", "+trainer.detect_anomaly=true", "+trainer.profiler=simple", "name=moved",
        "+data.geometry.new_and_off=false", "trainer.strategy=fsdp",
    ]  # fmt: skip
    run.keep_configuration(compose_config("train", *SMALL, *changes))


def test_a_run_begun_before_functions_moved_and_keys_went_may_resume(compose_config, tmp_path):
    run = begun(compose_config, tmp_path)
    path = run.path / "config.yaml"
    saved = OmegaConf.load(path)
    saved.trainer._target_ = "imagen.app.trainer.make_trainer"
    saved.stage.denoiser.network._convert_ = "all"
    saved.data.path = None
    OmegaConf.save(saved, path)
    run.keep_configuration(compose_config("train", *SMALL))
    assert "imagen.app" not in path.read_text()


def test_every_key_of_the_trainer_is_decided_on(compose_config):
    """A key that somebody adds to conf/trainer is refused to change until it is said to be free."""
    config = compose_config("train")
    assert "trainer" in KEPT
    decided = {key.removeprefix("trainer.") for key in FREE_WITHIN_KEPT if key.startswith("trainer.")}
    numbers = {
        "_target_",
        "accelerator",
        "devices",
        "precision",
        "accumulate_grad_batches",
        "gradient_clip_val",
        "matmul_precision",
    }
    assert set(config.trainer) - decided == numbers


def test_what_auto_resolved_to_is_compared_and_not_the_word(compose_config, tmp_path):
    config = compose_config("train", *SMALL)
    run = begun(compose_config, tmp_path)
    on_this_machine = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "precision": "32-true"}
    run.keep_configuration(config.copy(), auto=on_this_machine)
    assert OmegaConf.load(run.path / "config.yaml").trainer.precision == "32-true"
    with pytest.raises(UserError, match=r"trainer\.precision=32-true and cannot resume with trainer\.precision=bf16-m"):
        run.keep_configuration(config.copy(), auto=on_this_machine | {"precision": "bf16-mixed"})
    with pytest.raises(UserError, match=r"trainer\.devices=1 and cannot resume with trainer\.devices=2"):
        run.keep_configuration(config.copy(), auto=on_this_machine | {"devices": 2})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[stage.shedule]", r"may_change=\[stage\.shedule\]: no such key; did you mean stage\.schedule\?"),
        ("[accumulate_grad_batches]", r"no such key; did you mean trainer\.accumulate_grad_batches\?"),
        ("stage.schedule", r"may_change=stage\.schedule must be a list: may_change=\[stage\.schedule\]"),
    ],
)
def test_a_name_in_may_change_that_is_no_key_is_refused_also_by_a_new_run(value, message, compose_config, tmp_path):
    with pytest.raises(UserError, match=message):
        RunFolder(tmp_path / "new").keep_configuration(compose_config("train", *SMALL, f"may_change={value}"))


def test_another_optimizer_is_refused_whatever_may_change(compose_config, tmp_path):
    run = begun(compose_config, tmp_path)
    with pytest.raises(UserError, match=r"whose state does not fit .*Muon; start another run .*init_from=.*export"):
        run.keep_configuration(compose_config("train", *SMALL, "stage/optimizer=muon", "may_change=[stage.optimizer]"))


def test_a_learning_rate_that_may_change_does(run):
    longer = ["stage.lr_schedule.total_steps=8", "stage.optimizer.lr=1e-3"]
    before = checkpoint(run("trainer.max_steps=2", *longer))["optimizer_states"][0]["param_groups"][0]
    changed = ["stage.optimizer.lr=1e-4", "stage.optimizer.weight_decay=0.5", "may_change=[stage.optimizer]"]
    after = checkpoint(run("trainer.max_steps=3", longer[0], *changed))["optimizer_states"][0]["param_groups"][0]
    assert (before["weight_decay"], after["weight_decay"]) == (0.01, 0.5)
    assert (before["initial_lr"], after["initial_lr"]) == (1e-3, 1e-4)
    assert 0 < after["lr"] < 1e-4 < before["lr"]


def test_a_checkpoint_without_its_place_in_the_data_is_refused_in_one_line(run):
    folder = run("trainer.max_steps=1")
    content = checkpoint(folder)
    for place in ({}, {"next_position": "a", "global_batch_size": 10**12}, None):
        AtomicCheckpointIO().save_checkpoint(content | {"ImagenDataModule": place}, RunFolder(folder).last_checkpoint)
        with pytest.raises(UserError, match="its place in the data is missing or damaged"):
            export(folder, folder / "again")


def test_an_optimizer_that_was_moved_is_the_same_and_one_that_is_no_name_is_another(compose_config, tmp_path):
    run = begun(compose_config, tmp_path, "stage/optimizer=muon")
    path, wanted = run.path / "config.yaml", compose_config("train", *SMALL, "stage/optimizer=muon")
    saved = OmegaConf.load(path)
    for target, refused in (("imagen.stages.muon.Muon", False), (["imagen.stages.muon.Muon"], True)):
        saved.stage.optimizer._target_ = target
        OmegaConf.save(saved, path)
        with pytest.raises(UserError, match="whose state does not fit") if refused else nullcontext():
            run.keep_configuration(wanted.copy())
