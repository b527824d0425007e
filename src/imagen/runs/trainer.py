"""The Lightning Trainer with the settings that this project always needs."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import DistError

from imagen.checks.arguments import Count, check_arguments, described, fits
from imagen.devices import has_fast_bfloat16
from imagen.errors import UserError
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.sharding.strategy import ShardedStrategy

FSDP = "fsdp"
"""Ours, and not the strategy that Lightning calls so: that one is FSDP's first version, which cannot clip by norm."""


def resolved_auto(trainer: Trainer) -> dict[str, Any]:
    """What `auto` in conf/trainer resolved to on this machine."""
    device = trainer.strategy.root_device.type
    return {
        "accelerator": {"cuda": "gpu"}.get(device, device),
        "devices": trainer.num_devices,
        "num_nodes": trainer.num_nodes,
        "precision": trainer.precision,
    }


def make_trainer(
    accelerator: str,
    precision: str | int,
    plugins: Sequence[Any] = (),
    matmul_precision: Literal["highest", "high", "medium"] = "high",
    **options: Any,
) -> Trainer:
    """A Trainer that keeps our sampler, writes checkpoints whole, and runs in bfloat16 where the hardware has it.

    Raises:
        UserError: for a GPU that this machine does not have, or an option out of range.
    """
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(f"trainer.accelerator={accelerator}: this machine has no GPU; use trainer=cpu or trainer=auto")
    if any(isinstance(plugin, SLURMEnvironment) for plugin in plugins) and "SLURM_PROCID" not in os.environ:
        raise UserError("trainer=slurm: not started by srun; put srun before the command, or use trainer=ddp")
    for name in ("max_steps", "accumulate_grad_batches", "log_every_n_steps", "val_check_interval"):
        if not fits(options.get(name, 1), Count):
            raise UserError(f"trainer.{name}={options[name]} must be {described(Count)}")
    if options.get("gradient_clip_algorithm") not in (None, "norm"):
        raise UserError(
            f"trainer.gradient_clip_algorithm={options['gradient_clip_algorithm']}: only clipping by "
            "norm is supported; leave it out"
        )
    check_arguments(Trainer, options, "trainer")
    if precision == "auto":
        on_gpu = accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
        precision = "bf16-mixed" if has_fast_bfloat16("cuda" if on_gpu else "cpu") else "32-true"
    if "val_check_interval" in options:
        # Validation saves checkpoints, which cannot hold a half-accumulated gradient.
        batches = options["accumulate_grad_batches"]
        options["val_check_interval"] = -(-options["val_check_interval"] // batches) * batches
    if options.get("strategy") == FSDP:
        options["strategy"] = ShardedStrategy()
    checked: Any = precision  # by Lightning, which lists the words it knows
    trainer = Trainer(
        accelerator=accelerator,
        precision=checked,
        max_epochs=-1,
        check_val_every_n_epoch=None,  # one endless epoch: validation goes by batches
        use_distributed_sampler=False,  # the DataModule shards by position
        plugins=[AtomicCheckpointIO(), *plugins],
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),  # elsewhere our callback prints lines
        **options,
    )
    if trainer.strategy.root_device.type == "cuda":  # on a CPU it could change numbers
        torch.set_float32_matmul_precision(matmul_precision)
    return trainer


def fit(trainer: Trainer, stage: LightningModule, data: LightningDataModule, checkpoint: Path | None) -> None:
    """Train, from `checkpoint` on if there is one.

    Raises:
        UserError: if another of the processes that train together has ended.
    """
    try:
        trainer.fit(stage, data, ckpt_path=checkpoint, weights_only=True)
    except RuntimeError as error:
        if trainer.world_size == 1 or not _tells_of_a_lost_process(error):
            raise
        raise UserError(
            f"process {trainer.global_rank} of {trainer.world_size} stops at step {trainer.global_step}: another one "
            "has ended (killed, out of memory, or with an error of its own above); the same command goes on from the "
            "last checkpoint",
            environment=True,
        ) from error


def _tells_of_a_lost_process(error: RuntimeError) -> bool:
    """NCCL's errors have a class of their own, gloo's only a text."""
    return isinstance(error, DistError) or any(word in str(error) for word in ("gloo/transport", "Gloo connect"))


def quieten_libraries() -> None:
    """Silence Lightning's advertisements and its remarks about deliberate choices of ours; other warnings stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Says which process ended before it ends the others.
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    for remark in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*in eval mode at the start.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", remark)
