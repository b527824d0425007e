"""Interrupted saves, full disks, folders that cannot be written, flipped bits."""

import os
import random
import resource
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.faults.forks import mounted, noticed_flips, same, start
from benchmarks.faults.training import configuration, exit_code
from imagen.errors import UserError
from imagen.instantiation import instantiate_stage_part
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.export import StageDescription, export_stage, load_stage

IO = AtomicCheckpointIO()


def kills_in_a_save(folder: Path, trials: int) -> int:
    """A process is killed while it saves repeatedly: the checkpoint is the old or the new one, whole."""
    path, draw, survived = folder / "last.ckpt", random.Random(0), 0
    content = {"state_dict": {"w": torch.randn(500_000)}}

    def save_for_ever() -> None:
        for step in range(100_000):
            IO.save_checkpoint(content | {"global_step": step}, path)

    IO.save_checkpoint(content | {"global_step": -1}, path)
    for _ in range(trials):
        process = start(save_for_ever)
        time.sleep(0.05 + draw.random() / 2)
        process.kill()
        process.join()
        survived += same(IO.load_checkpoint(path)["state_dict"], content["state_dict"])
    return survived


def full(folder: Path, trials: int) -> int:
    """The disk fills up in a save: exit 3 with path, needed and free bytes; the earlier checkpoint is intact."""
    survived = 0
    for trial in range(trials):
        place = folder / str(trial)
        with mounted(place, "size=8m") as real:
            path = place / "last.ckpt"
            IO.save_checkpoint({"w": torch.ones(500_000), "global_step": 1}, path)
            with nullcontext_or_limit(real):
                said = refusal(lambda: IO.save_checkpoint({"w": torch.ones(1_700_000), "global_step": 2}, path))  # noqa: B023
            named = str(path) in said and "needs 6800000 bytes" in said and " free" in said
            survived += named and IO.load_checkpoint(path)["global_step"] == 1
    return survived


@contextmanager
def nullcontext_or_limit(real: bool):
    """Without a real small disk, a limit on file sizes; a write beyond it fails as on a full disk."""
    if real:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refusal(call) -> str:
    """The message with which `call` is refused; empty if it is not."""
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


def unwritable(folder: Path, trials: int) -> int:
    """Runs below a read-only file system and below a file: exit 3 before step 0, within 5 s of processor time."""
    survived = 0
    for trial in range(trials):
        place = folder / str(trial)
        if trial % 2:
            place.write_text("a file")
            survived += refused_soon(place)
        else:
            with mounted(place, "ro") as read_only:
                survived += read_only and refused_soon(place)
    return survived


def refused_soon(place: Path) -> bool:
    before = os.times()
    code = exit_code(configuration(place / "runs"))
    after = os.times()
    # Processor time, so that other work on the machine does not matter.
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return code == 3 and seconds < 5


def flipped_checkpoints(folder: Path, trials: int) -> int:
    path = folder / "last.ckpt"
    IO.save_checkpoint({"state_dict": {"w": torch.randn(5000)}}, path)
    return noticed_flips([path], trials, lambda: IO.load_checkpoint(path), UserError)


def flipped_exports(folder: Path, trials: int) -> int:
    schedule = {"_target_": "imagen.diffusion.schedules.CosineSchedule", "log_snr_min": -15.0, "log_snr_max": 15.0}
    denoiser = configuration(folder).stage.denoiser
    from omegaconf import OmegaConf

    description = StageDescription(
        name="base", resolution=8, low_resolution=None, denoiser=OmegaConf.to_container(denoiser, resolve=True),
        schedule=schedule, augmentation=None, text={"model": "none"}, step=1, images_seen=1,
    )  # fmt: skip
    export_stage(folder / "export", description, instantiate_stage_part(description.denoiser).state_dict())
    weights = folder / "export" / "model.safetensors"
    return noticed_flips([weights], trials, lambda: load_stage(folder / "export"), UserError)
