"""Interrupted runs, and how they resume."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from small_configurations import SMALL

from imagen.app.train import train
from imagen.callbacks.stop_on_signal import StopOnSignal
from imagen.commandline.command import run_reporting_errors
from imagen.data.module import ImagenDataModule
from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError
from imagen.locks import only_trainer
from imagen.places import ROOT
from imagen.runs.folder import RunFolder
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.diffusion_stage import DiffusionStage

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def small(compose_config):
    def composed(*overrides):
        return compose_config(
            "train", *SMALL, "callbacks=minimal", "callbacks.last.every_n_train_steps=1", "logger=none",
            "trainer.limit_val_batches=0", "stage.lr_schedule.total_steps=8", *overrides,
        )  # fmt: skip

    return composed


def last(config) -> dict:
    return torch.load(RunFolder(Path(config.run_dir)).last_checkpoint, weights_only=True)


def assert_same(one, other):
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(tensor, other["state_dict"][name]) for name, tensor in one["state_dict"].items())


@pytest.fixture
def sick_at(monkeypatch):
    """sick_at(2): the loss of the third backward pass is NaN."""
    healthy = Denoiser.loss

    def infect(*calls: int):
        count = iter(range(1000))

        def loss(self, *args):
            return healthy(self, *args) * (float("nan") if next(count) in calls else 1.0)

        monkeypatch.setattr(Denoiser, "loss", loss)

    return infect


def test_a_loss_that_is_no_number_stops_the_run_and_is_written_down(small, sick_at):
    config = small("trainer.max_steps=4")
    sick_at(2)
    with pytest.raises(UserError, match=r"nothing was updated; ids.*not_finite/step-0000003-rank-0\.json"):
        train(config)
    report = json.loads(Path(config.run_dir, "not_finite", "step-0000003-rank-0.json").read_text())
    (micro,) = report["micro_batches"]
    assert (report["step"], report["seed"], micro["position"]) == (3, 0, 2)
    assert micro["losses"] == ["nan"] * 4
    assert len(micro["ids"]) == len(micro["log_snr"]) == len(micro["captions"]) == 4
    assert last(config)["global_step"] == 2


def test_a_skipped_step_changes_neither_weights_nor_average_nor_optimizer(small, sick_at):
    config = small("trainer.max_steps=3", "stage.max_skipped_steps=1", "name=skips")
    sick_at(2)
    train(config)
    skipping = last(config)
    whole = small("trainer.max_steps=2", "name=whole")
    train(whole)
    assert (skipping["global_step"], skipping["skipped_steps"]) == (3, 1)
    assert_same(skipping, last(whole))
    assert {state["step"].item() for state in skipping["optimizer_states"][0]["state"].values()} == {2}


def test_more_skips_than_allowed_stop_the_run(small, sick_at):
    sick_at(1, 2)
    with pytest.raises(UserError, match="nothing was updated"):
        train(small("trainer.max_steps=4", "stage.max_skipped_steps=1"))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"state_dict": {"w": torch.ones(2)}, "global_step": 1}, path)
    for sick in (
        {"state_dict": {"ema.w": torch.tensor([1.0, float("nan")])}},
        {"optimizer_states": [{"state": {0: {"exp_avg": torch.tensor(float("inf"))}}}]},
    ):
        with pytest.raises(UserError, match=r"(ema\.w|0\.exp_avg) is not finite at step 2"):
            io.save_checkpoint(sick | {"global_step": 2}, path)
    assert io.load_checkpoint(path)["global_step"] == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on_from_there(small, monkeypatch, number, code):
    step = DiffusionStage.training_step

    def signalled(self, batch, batch_idx):
        if batch.position == 1:
            os.kill(os.getpid(), number)
        return step(self, batch, batch_idx)

    config = small("trainer.max_steps=4", "callbacks.last.every_n_train_steps=100")
    with monkeypatch.context() as patched:
        patched.setattr(DiffusionStage, "training_step", signalled)
        with pytest.raises(SystemExit) as ended:
            train(config)
    assert ended.value.code == code
    assert last(config)["global_step"] == 2
    train(config)
    whole = small("trainer.max_steps=4", "name=whole")
    train(whole)
    assert_same(last(config), last(whole))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_first_step_or_a_second_one_ends_the_command_at_once(small, monkeypatch, number, code):
    def signalled(*arguments):
        for _ in range(2):
            os.kill(os.getpid(), number)

    for owner, method in ((DiffusionStage, "training_step"), (ImagenDataModule, "prepare_data")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, method, signalled)
            assert run_reporting_errors(lambda: train(small("trainer.max_steps=4"))) == code
    assert not RunFolder(Path(small().run_dir)).last_checkpoint.exists()


def test_a_signal_to_the_first_of_two_processes_ends_both_with_a_checkpoint(tmp_path):
    command = [
        sys.executable, str(ROOT / "train.py"), *SMALL, "trainer=ddp_sim", "callbacks=minimal", "logger=none",
        "callbacks.last.every_n_train_steps=5", "trainer.max_steps=100000", "trainer.limit_val_batches=0",
        *(f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")),
    ]  # fmt: skip
    last = tmp_path / "runs" / "base" / "debug" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 240
        while not last.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)  # until the last process that may print has ended
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 143, printed
    assert printed.count("saved at step ") == printed.count("; the same command goes on") == 1
    assert 5 <= AtomicCheckpointIO().load_checkpoint(last)["global_step"] < 100000


class Agreement(Trainer):
    """One of two processes that train together: what they agree on is `answers`, and it happens `meanwhile`."""

    world_size, strategy = 2, None

    def __init__(self, answers: list[bool], meanwhile) -> None:
        self.accumulate_grad_batches, self.should_stop, self.limit_val_batches = 1, False, 1.0
        self.fit_loop = SimpleNamespace(total_batch_idx=0)
        self.strategy = SimpleNamespace(reduce_boolean_decision=self.reduce)
        self.answers, self.meanwhile = answers, meanwhile

    def reduce(self, decision: bool, *, all: bool) -> bool:
        assert all is False
        self.meanwhile()
        return self.answers.pop(0) or decision


def test_a_signal_that_comes_while_two_processes_agree_is_for_the_next_step(tmp_path):
    callback = StopOnSignal(str(tmp_path / "last.ckpt"))
    trainer = Agreement([False, False], lambda: callback._note(signal.SIGTERM, None))
    assert not callback.due(trainer)  # the other process has not heard of it: it goes on, and so does this one
    assert not trainer.should_stop
    assert callback.due(trainer)
    assert trainer.should_stop


def test_a_signal_to_another_process_stops_this_one(tmp_path):
    callback = StopOnSignal(str(tmp_path / "last.ckpt"))
    assert callback.due(Agreement([True], lambda: None))
    assert callback.received == signal.SIGTERM


def test_of_processes_that_start_together_one_writes_the_configuration(compose_config, tmp_path):
    config, run = compose_config("train"), RunFolder(tmp_path)
    (tmp_path / ".probe").write_bytes(b"of another process")
    run.probe()
    run.keep_configuration(config, write=False)
    assert [path.name for path in tmp_path.iterdir()] == [".probe"]
    run.keep_configuration(config)
    assert (tmp_path / "config.yaml").is_file()


def test_a_run_killed_between_its_last_checkpoint_and_its_export_is_exported(small):
    config = small("trainer.max_steps=2")
    train(config)
    export = RunFolder(Path(config.run_dir)).export
    before = {path.name: path.read_bytes() for path in export.iterdir()}
    shutil.rmtree(export)
    train(config)
    assert {path.name: path.read_bytes() for path in export.iterdir()} == before


def test_fewer_steps_than_the_run_has_are_refused(small):
    train(small("trainer.max_steps=2"))
    with pytest.raises(UserError, match=r"is finished: 2 of 1 steps; ask for more with trainer\.max_steps"):
        train(small("trainer.max_steps=1"))


def hold(folder: Path, ready, done) -> None:
    with only_trainer(folder):
        ready.set()
        done.wait(60)


def test_a_second_process_in_the_same_run_is_refused_and_a_killed_one_is_no_obstacle(small):
    config = small("trainer.max_steps=1")
    ready, done = FORK.Event(), FORK.Event()
    process = FORK.Process(target=hold, args=(Path(config.run_dir), ready, done))
    process.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match=f"in training by process {process.pid} on .* or choose another name"):
        train(config)
    process.kill()
    process.join()
    train(config)
    assert last(config)["global_step"] == 1


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-9] + bytes([path.read_bytes()[-9] ^ 1]) + b"12345678"),
    "empty": lambda path: path.write_bytes(b""),
    "dangling": lambda path: (path.unlink(), path.symlink_to("nowhere.ckpt")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_kept_and_the_one_before_it_taken(tmp_path, damage, caplog):
    run = RunFolder(tmp_path)
    content = {"state_dict": {"w": torch.randn(1000)}, "optimizer_states": []}
    for step, name in ((1, "best.ckpt"), (2, "last.ckpt")):
        AtomicCheckpointIO().save_checkpoint(content | {"global_step": step}, tmp_path / "checkpoints" / name)
    DAMAGE[damage](run.last_checkpoint)
    taken = []
    assert run.newest_valid_checkpoint(taken.append) == (tmp_path / "checkpoints" / "best.ckpt", 1)
    assert "last.ckpt" in caplog.text
    assert os.path.lexists(tmp_path / "checkpoints" / "last.ckpt.damaged")
    DAMAGE[damage](tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole, first .*best\.ckpt"):
        run.newest_valid_checkpoint(taken.append)
    assert [content["global_step"] for content in taken] == [1]


def test_a_full_disk_is_known_before_the_first_step(small, monkeypatch):
    config = small("trainer.max_steps=1")
    monkeypatch.setattr("imagen.runs.folder.shutil.disk_usage", lambda path: Usage(1000))
    with pytest.raises(UserError, match=rf"{config.run_dir}: checkpoints need \d+ bytes, 1000 are free") as caught:
        train(config)
    assert caught.value.environment


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_disk_that_fills_up_in_a_save_costs_nothing_but_that_save(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"w": torch.ones(2), "global_step": 1}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))  # a write beyond it fails as on a full disk
    try:
        with pytest.raises(UserError, match=rf"cannot write {path}: .* \(needs 4000000 bytes, \d+ free\)"):
            AtomicCheckpointIO().save_checkpoint({"w": torch.ones(1_000_000), "global_step": 2}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]
