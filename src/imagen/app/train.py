"""Train one stage: compose the objects, fit, export."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.types import Sweep
from lightning import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig, OmegaConf

from imagen.callbacks.curves import Curves
from imagen.callbacks.loggers import BEGINNING, RunLogger, run_loggers
from imagen.callbacks.stop_on_signal import StopOnSignal
from imagen.commandline.arguments import values_of
from imagen.commandline.command import is_multirun
from imagen.data.module import ImagenDataModule, make_data
from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import as_dict, instantiate
from imagen.locks import only_trainer
from imagen.published.additions import write_for_peft
from imagen.published.adoption import adopt
from imagen.randomness import derive_seed
from imagen.runs.description import describe
from imagen.runs.fine_tuning import begin
from imagen.runs.folder import RunFolder
from imagen.runs.rehearsal import rehearse_data, rehearse_resumption, rehearse_stage
from imagen.runs.trainer import fit, quieten_libraries, resolved_auto
from imagen.runs.worlds import warn_of_foreign_words
from imagen.sampling.command import sampling_command
from imagen.stages.card import default_card
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.export import export_stage
from imagen.stages.sharding.shard import gathered


def train(config: DictConfig) -> None:
    """Fit the stage of `config`, or go on with it, and export its averaged weights.

    Raises:
        UserError: for any value that cannot work, before the first step where that can be known.
    """
    multirun = is_multirun()
    if multirun:
        _refuse_multirun_in_one_folder()
    quieten_libraries()
    adopt(config)
    run = RunFolder(user_path(config.run_dir))
    run.probe()
    curves, stopper = Curves(), StopOnSignal(str(run.last_checkpoint))
    # After all that can be refused: config.yaml holds what a run was trained with, not what was asked for.
    keeper = LambdaCallback(
        on_train_start=lambda trainer, stage: run.keep_configuration(
            config, trainer.is_global_zero, resolved_auto(trainer)
        )
    )
    trainer: Trainer = instantiate(
        config.trainer,
        callbacks=[*_listed(config.callbacks), curves, stopper, keeper],
        logger=_loggers(config.logger),
        default_root_dir=str(run.path),
    )
    if multirun and trainer.num_devices * trainer.num_nodes > 1:
        raise UserError(
            f"--multirun with {trainer.num_devices * trainer.num_nodes} processes: every one would start the whole "
            "sweep; set trainer.devices=1, start one run after another, or use a launcher plugin such as "
            "hydra-submitit-launcher"
        )
    # Processes that train together share the run; the first of them answers for all.
    with only_trainer(run.path) if trainer.is_global_zero else nullcontext():
        try:
            _train(config, run, trainer, curves, stopper)
        finally:
            for logger in run_loggers(trainer):
                logger.close()


def _train(config: DictConfig, run: RunFolder, trainer: Trainer, curves: Curves, stopper: StopOnSignal) -> None:
    run.keep_configuration(config, write=False, auto=resolved_auto(trainer))
    torch.manual_seed(derive_seed(config.seed, "initial weights", config.stage.name))
    stage: DiffusionStage = instantiate(config.stage)
    rehearse_stage(config, stage, trainer)
    run.check_space(_checkpoint_bytes(stage))
    data = make_data(config.data)
    data.keep_large = stage.conditioner.looks_at
    if trainer.is_global_zero:
        warn_of_foreign_words(as_dict(config.text), data.world)
    rehearse_data(data, trainer, stage)
    stage.reads(data.text.fingerprint)
    checkpoint, step = run.newest_valid_checkpoint(lambda found: rehearse_resumption(found, stage, data)) or (None, 0)
    if checkpoint:
        _announce_resumption(run, checkpoint, step, trainer.max_steps)
    elif config.init_from is not None:
        begin(stage, config, data.text.fingerprint)
    if trainer.is_global_zero:
        for logger in run_loggers(trainer):
            logger.resume_at(step if checkpoint else BEGINNING)
        if checkpoint is None:
            _log_configuration(trainer, config)
    if config.compile:
        stage.denoiser.network.compile()  # in place: names and values of the weights stay
    started = time.monotonic()
    fit(trainer, stage, data, checkpoint)
    if (number := stopper.received) is not None:
        # The first process answers for all: Lightning's kills the others, and itself, when one ends with another code.
        raise SystemExit(128 + number if trainer.is_global_zero else 0)
    _finish(trainer, stage, data, config, run)
    if trainer.is_global_zero:
        _announce_end(trainer, stage, (time.monotonic() - started) / 60, curves.validation.get("val/loss"), run)


def _listed(node: DictConfig | None) -> list[Any]:
    """The objects of a group of named nodes; a node that was set to null has no target left."""
    return [instantiate(child) for child in (node or {}).values() if child is not None and "_target_" in child]


def _loggers(node: DictConfig | None) -> list[Any]:
    loggers = _listed(node)
    for logger in loggers:
        if not isinstance(logger, RunLogger):
            raise UserError(
                f"logger: {type(logger).__name__} is no imagen.callbacks.loggers.RunLogger, which a resumed run needs; "
                "derive it from that as well"
            )
    return loggers


def _refuse_multirun_in_one_folder() -> None:
    """Raise UserError unless the jobs differ in a key that names the run's folder, or may (an experiment)."""
    given = [value for key in ("name", "stage", "experiment") for value in values_of(key)]
    if any(isinstance(value, Sweep) or "${" in str(value) for value in given):
        return
    raise UserError(
        "--multirun: all runs would share one folder; vary name as well, such as 'name=lr${stage.optimizer.lr}' in "
        "single quotes"
    )


def _checkpoint_bytes(stage: DiffusionStage) -> int:
    """At most: weights, their average, and two moments for each weight."""
    weights = [*stage.parameters(), *stage.buffers()]
    return sum(tensor.nbytes for tensor in weights) + sum(8 * weight.numel() for weight in stage.denoiser.parameters())


def _announce_resumption(run: RunFolder, checkpoint: Path, step: int, max_steps: int) -> None:
    if step > max_steps or (step == max_steps and run.exported_step() == step):
        raise UserError(
            f"{run.path} is finished: {step} of {max_steps} steps; ask for more with trainer.max_steps=..., or start "
            "another run with name=..."
        )
    print(f"resuming {run.path} at step {step} of {max_steps} ({checkpoint.name})", flush=True)


def _announce_end(trainer: Trainer, stage: DiffusionStage, minutes: float, loss: float | None, run: RunFolder) -> None:
    """`loss`: of the last validation, None if there was none."""
    validated = "nothing was validated in so few steps" if loss is None else f"val/loss {loss:.4f}"
    places = [logger.place for logger in run_loggers(trainer)]
    print(
        f"{stage.name}: {trainer.global_step} steps in {minutes:.1f} min, {validated}\n  exported to {run.export}",
        *(f"  curves: {place}" for place in places if place),
        sep="\n",
        flush=True,
    )


def _log_configuration(trainer: Trainer, config: DictConfig) -> None:
    """The resolved configuration of a new run as text and as flat hyperparameters, in every logger that has them."""
    resolved = as_dict(config)
    flat = _first_to_see(resolved) | _flat({key: resolved[key] for key in ("stage", "trainer", "data", "resolutions")})
    for logger in run_loggers(trainer):
        logger.log_hyperparams(flat)
        logger.log_text("config", OmegaConf.to_yaml(OmegaConf.create(resolved)))


def _first_to_see(config: dict[str, Any]) -> dict[str, Any]:
    """What tells runs apart, under short names: TensorBoard's table has its columns in this order, ticked from the
    left."""
    stage = config["stage"]
    return {
        "name": config["name"],
        "stage": stage["name"],
        "resolution": stage["resolution"],
        "lr": stage["optimizer"].get("lr"),
        "batch_size": config["data"]["batch_size"],
        "max_steps": config["trainer"]["max_steps"],
        "seed": config["seed"],
    }


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested configuration as dotted keys and plain values."""
    if not isinstance(node, dict):
        return {prefix: node if isinstance(node, int | float | str | bool) else json.dumps(node)}
    return {
        key: value for name, child in node.items() for key, value in _flat(child, f"{prefix}.{name}".strip(".")).items()
    }


def _finish(
    trainer: Trainer, stage: DiffusionStage, data: ImagenDataModule, config: DictConfig, run: RunFolder
) -> None:
    """Save the last checkpoint and export the averaged weights."""
    trainer.save_checkpoint(run.last_checkpoint)
    weights = gathered(stage.ema.module.state_dict(), keep=trainer.is_global_zero)
    if trainer.is_global_zero:
        text, seen = data.text.fingerprint, data.pictures_seen
        description = describe(config, trainer.global_step, seen, text, stage.init_from, data.world, stage.taught_by)
        command = sampling_command(description, run.export, user_path(config.paths.runs))
        export_stage(run.export, description, weights, default_card(description, command))
        if description.adds_to is not None:
            write_for_peft(run.export, description, weights)
