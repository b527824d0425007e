"""Whether sharing a training out among processes changes it, and what each process then holds.

    python -m benchmarks.sharding            # equality and memory, on the CPU

Equality: the same 20 steps in float32 on one process that accumulates two batches, on two processes under DDP, and on
two that share weights, gradients, optimizer state and average out among them (FSDP2). Printed is the largest relative
difference of a loss, and the largest difference of a weight, of the average and of the optimizer's state, from those of
one process. The learning rate is small: at 1e-3 Adam's first steps, along signs of gradients that are almost 0, let a
difference of rounding grow a thousandfold in 20 steps.

Memory: bytes of tensors that each process holds after a step, before its gradients are dropped.
"""

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from benchmarks.together import exit_codes, start_together
from imagen.app.train import train
from imagen.commandline.command import prepare_environment
from imagen.places import ROOT
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.sharding.shard import own_piece

STEPS = 20
KINDS = {"1 process": ("trainer=cpu", 1), "2, DDP": ("trainer=ddp_sim", 2), "2, FSDP2": ("trainer=fsdp_sim", 2)}
STAGES = {
    "base, AdamW": ["stage/optimizer=adamw"],
    "base, Adafactor": ["stage/optimizer=adafactor"],
    "base, Muon": ["stage/optimizer=muon"],
    "sr1, Adam": ["stage=sr1", "stage/optimizer=adam"],
    "base, AdamW, recomputed": ["stage/optimizer=adamw", "stage.denoiser.network.checkpointing=true"],
}
SMALL = [
    "text.mode=online", "data.batch_size=4", "data.train.size=64", "data.validation.size=16", "resolutions=[8,16,32]",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.limit_val_batches=0", "callbacks=minimal",
    "callbacks.progress=null", "trainer.log_every_n_steps=1", "stage.optimizer.lr=1e-4",
]  # fmt: skip


def configuration(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=[*SMALL, f"paths.runs={folder}", *overrides])


def trained(config: DictConfig, processes: int, held_in: Path | None = None) -> Path:
    def work() -> None:
        if held_in is not None:
            note_held_bytes(held_in)
        train(config)

    codes = exit_codes(start_together(work, processes, quiet=True), 600)
    assert codes == [0] * processes, codes
    return Path(config.run_dir)


def equality(folder: Path) -> None:
    print(f"\n{'':<26} {'':<10} {'loss':>9} {'weights':>9} {'average':>9} {'state':>9}")
    for number, (name, stage) in enumerate(STAGES.items()):
        runs = []
        for kind, (trainer, processes) in KINDS.items():
            turns, place = f"trainer.accumulate_grad_batches={2 // processes}", folder / f"{number}_{len(runs)}"
            asked = [trainer, *stage, turns, "logger=csv", f"trainer.max_steps={STEPS}"]
            runs.append(trained(configuration(place, *asked), processes))
            if kind != "1 process":
                print(
                    f"{name:<26} {kind:<10} " + " ".join(f"{d:9.1e}" for d in differences(runs[0], runs[-1])),
                    flush=True,
                )


def differences(run: Path, other: Path) -> Iterator[float]:
    """Of losses (relative), weights, average and optimizer state."""
    losses, others = ([float(row["train/loss"]) for row in table(one)] for one in (run, other))
    assert len(losses) == len(others) == STEPS
    yield max(abs(a - b) / abs(a) for a, b in zip(losses, others, strict=True))
    one, two = (AtomicCheckpointIO().load_checkpoint(path / "checkpoints" / "last.ckpt") for path in (run, other))
    for part in ("denoiser.", "ema."):
        names = [name for name in one["state_dict"] if name.startswith(part)]
        yield max((one["state_dict"][name] - two["state_dict"][name]).abs().max().item() for name in names)
    pairs = zip(tensors(one["optimizer_states"]), tensors(two["optimizer_states"]), strict=True)
    yield max((a - b).abs().max().item() for a, b in pairs)


def table(run: Path) -> list[dict[str, str]]:
    with (run / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def tensors(node: Any) -> Iterator[Tensor]:
    """Those in nested dictionaries and lists, in order."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from tensors(child)


def note_held_bytes(folder: Path) -> None:
    """Let each process write the bytes of its tensors to `folder` after a step, while its gradients are there."""

    def on_before_zero_grad(stage: DiffusionStage, optimizer: torch.optim.Optimizer) -> None:
        weights = list(stage.denoiser.parameters())
        held = {
            "weights": size(weights),
            "gradients": size(weight.grad for weight in weights if weight.grad is not None),
            "optimizer": size(tensor for state in optimizer.state.values() for tensor in tensors(state)),
            "average": size(stage.ema.parameters()),
        }
        (folder / f"{stage.global_rank}.json").write_text(json.dumps(held))

    DiffusionStage.on_before_zero_grad = on_before_zero_grad


def size(some: Iterable[Tensor]) -> int:
    return sum(own_piece(tensor).nbytes for tensor in some)


def memory(folder: Path, network: str) -> None:
    parts = ("weights", "gradients", "optimizer", "average")
    print(f"\nMB in each process, {network}\n{'':<24} " + " ".join(f"{part:>9}" for part in (*parts, "sum")))
    for optimizer in ("adamw", "adafactor", "muon"):
        for trainer, processes in (("cpu", 1), ("ddp_sim", 2), ("fsdp_sim", 2), ("fsdp_sim", 4)):
            place = folder / f"{optimizer}_{trainer}_{processes}"
            place.mkdir(parents=True)
            asked = [f"trainer={trainer}", f"stage/network={network}", f"stage/optimizer={optimizer}"]
            asked += [f"trainer.devices={processes}", "logger=none", "trainer.max_steps=3", "resolutions=[16,32,64]"]
            config = configuration(place, *asked)
            trained(config, processes, held_in=place)
            held = [json.loads(path.read_text()) for path in sorted(place.glob("*.json"))]
            assert len(held) == processes
            most = {part: max(one[part] for one in held) / 1e6 for part in parts}
            row = [*most.values(), sum(most.values())]
            label = f"{optimizer}, {processes} × {trainer.removesuffix('_sim')}"
            print(f"{label:<24} " + " ".join(f"{megabytes:>9.2f}" for megabytes in row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="base_tiny", help="of conf/stage/network, for memory")
    arguments = parser.parse_args()
    prepare_environment()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        equality(Path(folder) / "equality")
        memory(Path(folder) / "memory", arguments.network)


if __name__ == "__main__":
    main()
