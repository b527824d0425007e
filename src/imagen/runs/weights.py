"""Weights to sample from: exported stages, and checkpoints of runs, averaged or raw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imagen.data.module import ImagenDataModule, pictures_seen_at
from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError
from imagen.files import sha256_of_file
from imagen.instantiation import instantiate_saved_text, instantiate_stage_part, refuse_interpolations
from imagen.runs.description import describe
from imagen.runs.folder import RunFolder
from imagen.runs.saved_config import read_saved
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.export import (
    StageDescription,
    TrainedStage,
    describe_misfit,
    load_stage,
    read_description,
    ready_to_sample,
)

AVERAGED, RAW = "averaged", "raw"
"""The moving average of the weights, which exported stages hold, and the weights that the optimizer moves."""

AVERAGE, MOVED = "ema.module.", "denoiser."
"""How the names of the two begin in a checkpoint."""


def load_weights(path: Path, weights: str, device: torch.device) -> TrainedStage:
    """The stage in `path`, an exported folder or a checkpoint of a run (`*.ckpt`), with its averaged or raw weights.

    An export holds averaged weights only; its raw ones are taken from the last checkpoint of its run.

    Raises:
        UserError: for another kind of weights, and for files that are missing, damaged or do not belong together.
    """
    if weights not in (AVERAGED, RAW):
        raise UserError(f"cascade.weights={weights}: choose {AVERAGED} or {RAW}")
    if path.suffix == ".ckpt":
        return ready_to_sample(*read_checkpoint(path, weights), device)
    if weights == AVERAGED:
        return load_stage(path, device)
    checkpoint = RunFolder(path.parent).last_checkpoint
    if path.name != "export" or not checkpoint.is_file():
        raise UserError(
            f"cascade.weights={RAW}: {path} holds averaged weights only and is not the export of a run that still has "
            f"its checkpoint; give the checkpoint itself, as cascade.stages=[runs/base/<name>/checkpoints/last.ckpt]"
        )
    description, denoiser = read_checkpoint(checkpoint, weights)
    if description.step != (step := read_description(path).step):
        raise UserError(
            f"cascade.weights={RAW}: {path} is of step {step}, {checkpoint} of step {description.step}; export the run "
            f"again with imagen export {path.parent}"
        )
    return ready_to_sample(description, denoiser, device)


def read_checkpoint(checkpoint: Path, weights: str) -> tuple[StageDescription, Denoiser]:
    """What a checkpoint of a run holds; the description's `weights_sha256` is that of the whole checkpoint.

    Both files may be a stranger's: only what sampling needs is built, through the gates for what comes with weights.

    Raises:
        UserError: if there is no checkpoint, or no configuration of its run, or either is damaged, names code, or is of
            another network than the other.
    """
    run = checkpoint.parents[1]
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not the folder of a run: config.yaml is missing; give one such as runs/base/default")
    config = saved_sections(run / "config.yaml")
    content = AtomicCheckpointIO().load_checkpoint(checkpoint)
    state = _weights_in(content, AVERAGE if weights == AVERAGED else MOVED, checkpoint)
    description = _describe(config, content, run / "config.yaml")
    denoiser: Denoiser = instantiate_stage_part(description.denoiser)
    if misfit := describe_misfit(denoiser.state_dict(), state):
        raise UserError(
            f"{checkpoint}, against the network of {run / 'config.yaml'}: {misfit}; restore the one that belongs there"
        )
    denoiser.load_state_dict(state)
    return replace(description, weights_sha256=sha256_of_file(checkpoint)), denoiser


def saved_sections(path: Path) -> DictConfig:
    """The sections of a run's configuration that tell how to sample it; a run saves them resolved."""
    config = read_saved(path)
    sections = {name: config.get(name) for name in ("stage", "text")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(f"{path}: not the configuration of a run ({name} is missing); restore it")
        refuse_interpolations(section, f"{path}: {name}")
    return OmegaConf.create(sections)


def _weights_in(content: Any, prefix: str, checkpoint: Path) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not isinstance(content.get("global_step"), int):
        raise UserError(f"checkpoint {checkpoint} is not one of a training run")
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(tensor, torch.Tensor)
    }


def _describe(config: DictConfig, content: dict[str, Any], path: Path) -> StageDescription:
    """The stage that `config`, from `path`, says was trained; how long, the `content` of its checkpoint says."""
    seen = pictures_seen_at(content.get(ImagenDataModule.__qualname__))
    text = instantiate_saved_text(OmegaConf.to_container(config.text)).fingerprint
    try:
        return describe(config, content["global_step"], seen, text, content.get("init_from"))
    except (AttributeError, KeyError, TypeError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not the configuration of a run ({reason}); restore it") from None
