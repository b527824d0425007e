"""The stage that a checkpoint of a run holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from imagen.checks.arguments import fits
from imagen.checks.worlds import World
from imagen.data.module import ImagenDataModule, pictures_seen_at
from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError
from imagen.files import sha256_of_file
from imagen.instantiation import as_dict
from imagen.runs.description import describe
from imagen.runs.saved_config import saved_sections
from imagen.runs.worlds import with_world
from imagen.stages.checkpoint_io import AtomicCheckpointIO
from imagen.stages.export import CONFIG, StageDescription, check_text, load_denoiser, read_description
from imagen.text.model_files import MissingModelError
from imagen.text.record import build_source, name_of

AVERAGED, RAW = "ema.module.", "denoiser."
"""Prefixes of the names of the averaged and of the raw weights in a checkpoint."""


def read_checkpoint(checkpoint: Path, averaged: bool) -> tuple[StageDescription, Denoiser]:
    """The stage in a checkpoint of a run, with its averaged or raw weights. The `weights_sha256` of the description is
    that of the whole checkpoint.

    Checkpoint and config.yaml may be a stranger's: only what sampling needs is built, through the gates for
    configuration that comes with weights.

    Raises:
        UserError: if the checkpoint or its run's configuration is missing or damaged, names code, or describes another
            network than the other.
    """
    run = checkpoint.absolute().parent.parent
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not the folder of a run: config.yaml is missing; give one such as runs/base/default")
    config = saved_sections(run / "config.yaml")
    content = AtomicCheckpointIO().load_checkpoint(checkpoint)
    state = _weights_in(content, AVERAGED if averaged else RAW, checkpoint)
    description = with_world(_describe(config, content, run / "config.yaml"), run)
    check_text(description, str(checkpoint), "restore the checkpoint")
    where = f"{checkpoint}, against the network of {run / 'config.yaml'}"
    denoiser = load_denoiser(description.denoiser, state, where, "restore the one that belongs there")
    return replace(description, weights_sha256=sha256_of_file(checkpoint)), denoiser


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
    """The description of the stage that was trained under `config`, from `path`, for as long as the `content` of its
    checkpoint says."""
    place = content.get(ImagenDataModule.__qualname__)
    seen = pictures_seen_at(place)
    text = place.get("text") if isinstance(place, dict) else None
    if not fits(text, dict[str, str | int]):  # a checkpoint of before, or a stranger's
        text = _text_of(config, path)
    record = place.get("trained_on") if isinstance(place, dict) else None
    where, way_out = f"{path.parent}: trained_on of the checkpoint", "restore the checkpoint"
    trained_on = None if record is None else World.from_record(record, where, way_out)
    try:
        started, taught_by = content.get("init_from"), content.get("taught_by")
        return describe(config, content["global_step"], seen, text, started, trained_on, taught_by)
    except (AttributeError, KeyError, TypeError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not the configuration of a run ({reason}); restore it") from None


def _text_of(config: DictConfig, path: Path) -> dict[str, Any] | None:
    """The fingerprint of the text source that `config`, from `path`, describes, for checkpoints that do not record it.
    If the encoder's files have moved, that of the run's last export: within a run the encoder cannot change."""
    section = as_dict(config.text, resolve=False)
    try:
        return build_source(section, f"{path}: text").fingerprint
    except MissingModelError:
        export = path.with_name("export")
        if (export / CONFIG).is_file():
            return read_description(export).text
        raise MissingModelError(
            f"{path}: text encoder {name_of(section)} is not there, and neither this checkpoint nor an export of the "
            "run records which one it was: put its files there again"
        ) from None
