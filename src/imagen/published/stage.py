"""A published DeepFloyd IF stage as a stage of this project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imagen.checks.arguments import Count, fits
from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError
from imagen.published.folder import (
    NOISING,
    SCHEDULER,
    UNET,
    WAY_OUT,
    read_config,
    read_weights,
    schedule_of,
    sha256_of,
    weights_of,
)
from imagen.published.text import PublishedText
from imagen.stages.export import StageDescription, TrainedStage, describe_misfit, ready_to_sample, stage_part
from imagen.text.deepfloyd.encoder import DeepFloydEncoder

BASE, SUPER_RESOLUTION = "base", "sr1"


@dataclass(frozen=True)
class Parts:
    """Configurations of the parts of a published stage; `conditioner` is None for that of a base stage."""

    resolution: int
    low_resolution: int | None
    network: dict[str, Any]
    parameterisation: dict[str, Any]
    schedule: dict[str, Any]
    augmentation: dict[str, Any] | None
    conditioner: dict[str, Any] | None


def parts_of(folder: Path, encoder: DeepFloydEncoder, low_resolution: int | None = None) -> Parts:
    """What the files of the stage in `folder` say. Every number is read from them.

    Args:
        folder: of a published pipeline.
        encoder: of its text.
        low_resolution: side of the pictures that the stage before makes. No file says it; None: a quarter of what the
            stage makes, if it is one of super-resolution.

    Raises:
        UserError: if a file is missing, or describes another kind of stage.
    """
    config = read_config(folder, UNET, "config.json")
    resolution = config.get("sample_size")
    if not isinstance(resolution, int) or not fits(resolution, Count):
        raise UserError(f"{folder / UNET}/config.json: sample_size={resolution!r:.60} is no number; {WAY_OUT}")
    schedule = schedule_of(folder, SCHEDULER)
    augmentation = schedule_of(folder, NOISING) if (folder / NOISING).is_dir() else None
    network: dict[str, Any] = {
        "_target_": "imagen.networks.deepfloyd.unet.DeepFloydUNet",
        "config": {name: value for name, value in config.items() if not name.startswith("_") or name == "_class_name"},
        "schedule": schedule,
        "text_tokens": encoder.max_length,
        "text_features": encoder.features,
    }
    low = None if augmentation is None else low_resolution or resolution // 4
    return Parts(
        resolution=resolution,
        low_resolution=low,
        network=network if augmentation is None else network | {"augmentation": augmentation},
        parameterisation={"_target_": "imagen.diffusion.parameterisations.EpsPrediction"},
        schedule=schedule,
        augmentation=augmentation,
        conditioner=None if augmentation is None else _conditioner(low, resolution, augmentation),
    )


def describe_published(
    folder: Path, text: PublishedText, low_resolution: int | None = None, weights_sha256: str = ""
) -> StageDescription:
    """What an export would say of the stage in `folder`.

    Args:
        folder: as in `parts_of`, and so is `low_resolution`.
        text: its text source.
        low_resolution: of the stage before.
        weights_sha256: of the U-Net's weights.

    Raises:
        UserError: as `parts_of`.
    """
    parts = parts_of(folder, text.encoder, low_resolution)
    return StageDescription(
        name=BASE if parts.augmentation is None else SUPER_RESOLUTION,
        resolution=parts.resolution,
        low_resolution=parts.low_resolution,
        denoiser={
            "_target_": "imagen.diffusion.denoiser.Denoiser",
            "network": parts.network,
            "parameterisation": parts.parameterisation,
            "weighting": {"_target_": "imagen.diffusion.weightings.UnweightedLoss"},
        },
        schedule=parts.schedule,
        augmentation=parts.augmentation,
        text=text.fingerprint,
        step=0,
        images_seen=0,
        weights_sha256=weights_sha256,
        conditioner=parts.conditioner,
        text_source=dict(text.section),
    )


def load_published(
    folder: Path, text: PublishedText, device: torch.device | str = "cpu", low_resolution: int | None = None
) -> TrainedStage:
    """The stage in `folder`, in evaluation mode. The arguments are those of `describe_published`.

    Raises:
        UserError: also if the weights are damaged, or do not fit what config.json describes.
    """
    files = weights_of(folder)
    description = describe_published(folder, text, low_resolution, sha256_of(files))
    state = {f"network.{name}": tensor for name, tensor in read_weights(files).items()}
    state["network.empty_prompt"] = text.empty_prompt[0]
    with torch.device("meta"):  # the weights are not drawn first, only to be replaced
        denoiser = stage_part(Denoiser, description.denoiser, "denoiser")
    if misfit := describe_misfit(denoiser.state_dict(), state):
        raise UserError(f"{files[0]}, against the network that {UNET}/config.json describes: {misfit}; {WAY_OUT}")
    denoiser.load_state_dict(state, assign=True)
    return ready_to_sample(description, denoiser, device)


def _conditioner(low_resolution: int | None, resolution: int, augmentation: dict[str, Any]) -> dict[str, Any]:
    return {
        "_target_": "imagen.stages.conditioners.LowResConditioner",
        "low_resolution": low_resolution,
        "resolution": resolution,
        "augmentation": augmentation,
        "align_corners": True,
    }
