"""What a run's export says of its stage."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from imagen.stages.export import StageDescription
from imagen.text.record import record_of


def describe(
    config: DictConfig, step: int, images_seen: int, text: dict | None, init_from: str | None
) -> StageDescription:
    """The description of a stage trained under `config`. Its history is the caller's to give, since a run may resume
    under a configuration other than that of its first steps.

    Args:
        config: with the sections `stage` and `text`.
        step: optimizer steps taken.
        images_seen: by the run.
        text: fingerprint of the text source.
        init_from: sha256 of the weights that the run started from; None for random ones.
    """
    stage: dict[str, Any] = OmegaConf.to_container(config.stage, resolve=True)
    conditioner = stage["conditioner"]
    return StageDescription(
        name=stage["name"],
        resolution=stage["resolution"],
        low_resolution=conditioner.get("low_resolution"),
        denoiser=stage["denoiser"],
        schedule=stage["schedule"],
        augmentation=conditioner.get("augmentation"),
        text=text,
        step=step,
        images_seen=images_seen,
        init_from=init_from,
        text_source=record_of(OmegaConf.to_container(config.text, resolve=True)),
    )
