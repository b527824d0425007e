"""The same failures with plain Lightning and with this project: python -m benchmarks.faults.stock_lightning

Plain means the unmodified Trainer, ModelCheckpoint and loggers, with a network of one layer.
"""

import csv
import os
import random
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.faults import training
from benchmarks.faults.forks import in_child, mounted, start
from benchmarks.faults.strangers import tests
from imagen.commandline.command import prepare_environment
from imagen.stages.checkpoint_io import AtomicCheckpointIO

WEIGHTS = 10_000_000  # 40 MB: a save takes long enough to be hit


class Plain(LightningModule):
    """One layer. Records the rows it gets; `trouble(step)` is called before each loss, which is multiplied by it."""

    def __init__(self, trouble: Callable[[int], float] = lambda step: 1.0) -> None:
        super().__init__()
        self.layer, self.trouble, self.seen = torch.nn.Linear(1, 1), trouble, []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.seen.append(batch[0].flatten().tolist())
        loss = self.layer(batch[0]).square().mean() * self.trouble(self.global_step)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def fit(folder: Path, module: Plain, steps: int, resume: Path | None = None, logger=False, **options) -> Trainer:
    """Fit with eight shuffled steps per epoch and a checkpoint every step."""
    seed_everything(0, verbose=False)
    checkpoint = ModelCheckpoint(folder, "last", every_n_train_steps=1, enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, callbacks=[checkpoint], logger=logger, log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **options,
    )  # fmt: skip
    data = DataLoader(TensorDataset(torch.arange(32.0)[:, None]), batch_size=4, shuffle=True)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return trainer


def whole_after_kills(io: TorchCheckpointIO, target: Path, trials: int) -> str:
    """Kills a process that saves to `target` repeatedly; the temporary folder is on another file system."""
    content, draw, whole = {"w": torch.zeros(WEIGHTS)}, random.Random(1), 0

    def save_for_ever() -> None:
        while True:
            io.save_checkpoint(content, target)

    io.save_checkpoint(content, target)
    for _ in range(trials):
        process = start(save_for_ever)
        time.sleep(0.2 + draw.random())
        process.kill()
        process.join()
        try:
            whole += len(torch.load(target, weights_only=True)["w"]) == WEIGHTS
        except Exception:
            io.save_checkpoint(content, target)
    return f"{trials - whole} of {trials} checkpoints corrupt"


def kills_in_a_save(folder: Path) -> tuple[str, str]:
    answers = []
    with mounted(folder / "other", "size=200m"):
        for io in (TorchCheckpointIO(), AtomicCheckpointIO()):
            answers.append(whole_after_kills(io, folder / "other" / f"{type(io).__name__}.ckpt", 20))
    return answers[0], answers[1]


def disk_full(folder: Path) -> tuple[str, str]:
    """A save that does not fit on 8 MB after one that did."""
    answers = []
    with mounted(folder / "small", "size=8m"):
        for io in (TorchCheckpointIO(), AtomicCheckpointIO()):
            path = folder / "small" / "last.ckpt"
            io.save_checkpoint({"w": torch.ones(500_000), "step": 1}, path)
            try:
                io.save_checkpoint({"w": torch.ones(2_500_000), "step": 2}, path)
                said = "no error"
            except Exception as error:
                said = type(error).__name__
            try:
                left = f"step {torch.load(path, weights_only=True)['step']} is intact"
            except Exception:
                left = "the old checkpoint is destroyed"
            answers.append(f"{said}; {left}")
            path.unlink(missing_ok=True)
    return answers[0], answers[1]


def read_only(folder: Path) -> tuple[str, str]:
    with mounted(folder / "ro", "ro"):
        try:
            TorchCheckpointIO().save_checkpoint({"w": torch.ones(1)}, folder / "ro" / "last.ckpt")
            said = "no error"
        except Exception as error:
            said = type(error).__name__
        written = (folder / "ro" / "last.ckpt").exists()
        begun = time.monotonic()
        code = training.exit_code(training.configuration(folder / "ro" / "runs"))
    ours = f"exit {code} before step 0, after {time.monotonic() - begun:.1f} s"
    return f"{said}, {'written' if written else 'nothing written'}", ours


def not_a_number(folder: Path) -> tuple[str, str]:
    module = Plain(lambda step: float("nan") if step == 3 else 1.0)
    trainer = fit(folder / "plain", module, 8, gradient_clip_val=1.0)
    saved = torch.load(folder / "plain" / "last.ckpt", weights_only=True)["state_dict"]
    finite = all(tensor.isfinite().all() for tensor in saved.values())
    kept = training.not_a_number(folder, 1)
    weights = "finite" if finite else "NaN"
    return (
        f"run {trainer.state.status.value}, saved weights {weights}",
        f"stopped, checkpoint {'finite' if kept else 'NaN'}",
    )


def sigterm(folder: Path) -> tuple[str, str]:
    def stop(step: int) -> float:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    code = in_child(lambda: fit(folder, Plain(stop), 8))
    (folder / "ours").mkdir()
    ours = training.signals(folder / "ours", 1)
    return f"exit {code}", "exit 143, saved, resumed bit for bit" if ours else "failed"


def resumed_batches(folder: Path) -> tuple[str, str]:
    """The rows that a run sees after step 5 of 8, uninterrupted and resumed."""
    whole, first, resumed = Plain(), Plain(), Plain()
    fit(folder / "whole", whole, 8)
    fit(folder / "parts", first, 5)
    fit(folder / "parts", resumed, 8, resume=folder / "parts" / "last.ckpt")
    same = resumed.seen == whole.seen[5:]
    (folder / "ours").mkdir()
    ours = training.kills(0)(folder / "ours", 2)
    return "the same batches" if same else "other batches", "the same batches, bit for bit" if ours == 2 else "others"


def curves(folder: Path) -> tuple[str, str]:
    fit(folder / "plain", Plain(), 3, logger=CSVLogger(folder, "csv", ""))
    fit(folder / "plain", Plain(), 6, folder / "plain" / "last.ckpt", logger=CSVLogger(folder, "csv", ""))
    with (folder / "csv" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    ours = tests("tests/app/test_training_curves.py")(folder, 1)
    return f"metrics.csv holds steps {steps} of 0 to 5", "every step once" if ours else "failed"


FAILURES = {
    "killed 20 times in saves, TMPDIR on another file system": kills_in_a_save,
    "disk full in a save": disk_full,
    "read-only folder": read_only,
    "NaN loss at step 3, gradients clipped": not_a_number,
    "SIGTERM in training": sigterm,
    "resumed in the middle of an epoch": resumed_batches,
    "CSV log of a resumed run": curves,
}


def main() -> None:
    prepare_environment()
    warnings.simplefilter("ignore")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    print("| failure | plain Lightning | this project |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, (failure, run) in enumerate(FAILURES.items()):
            place = Path(folder) / str(number)
            place.mkdir()
            plain, ours = run(place)
            print(f"| {failure} | {plain} | {ours} |", flush=True)


if __name__ == "__main__":
    main()
