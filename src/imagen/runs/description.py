"""What a run's export says of its stage."""

from omegaconf import DictConfig

from imagen.checks.worlds import World
from imagen.files import user_path
from imagen.instantiation import as_dict
from imagen.networks.adapters.low_rank import LowRank
from imagen.stages.conditioners import CleanLowResConditioner, LowResConditioner, TextConditioner
from imagen.stages.distillation.record import Distilled
from imagen.stages.export import StageDescription
from imagen.stages.unclip.clip import FrozenClip
from imagen.text.record import record_of

WITH_ADDITIONS = f"{LowRank.__module__}.{LowRank.__qualname__}"
"""The network of a run that trains additions alone."""

IMAGENS_CONDITIONERS = {
    f"{kind.__module__}.{kind.__qualname__}" for kind in (TextConditioner, LowResConditioner, CleanLowResConditioner)
}
"""What an export need not name: to sample, all of them do what `low_resolution` and `augmentation` say."""


def describe(
    config: DictConfig,
    step: int,
    images_seen: int,
    text: dict | None,
    init_from: str | None,
    trained_on: World | None = None,
    taught_by: str | None = None,
) -> StageDescription:
    """The description of a stage trained under `config`. Its history is the caller's to give, since a run may resume
    under a configuration other than that of its first steps.

    Args:
        config: with the sections `stage` and `text`.
        step: optimizer steps taken.
        images_seen: by the run.
        text: fingerprint of the text source.
        init_from: sha256 of the weights that the run started from; None for random ones.
        trained_on: the pictures of the run; None if they are not known.
        taught_by: sha256 of the weights of its teacher; None if it has none.
    """
    stage = as_dict(config.stage)
    conditioner = _with_hash_of_clip(stage["conditioner"])
    sizes = _innermost(conditioner)
    return StageDescription(
        name=stage["name"],
        resolution=stage["resolution"],
        low_resolution=sizes.get("low_resolution"),
        denoiser=stage["denoiser"],
        schedule=stage["schedule"],
        augmentation=sizes.get("augmentation"),
        text=text,
        step=step,
        images_seen=images_seen,
        init_from=init_from,
        conditioner=None if _is_imagens(conditioner) else conditioner,
        text_source=record_of(as_dict(config.text)),
        trained_on=None if trained_on is None else trained_on.as_record(),
        distilled=None if taught_by is None else _distilled(stage, taught_by).as_record(),
        adds_to=_published(config, init_from) if stage["denoiser"]["network"]["_target_"] == WITH_ADDITIONS else None,
    )


def _is_imagens(conditioner: dict) -> bool:
    return conditioner["_target_"] in IMAGENS_CONDITIONERS and not conditioner.get("align_corners")


def _published(config: DictConfig, sha256: str | None) -> dict[str, str]:
    """The published weights, with that hash, that a run with low-rank additions began with."""
    return {"path": str(user_path(config.init_from)), "weights_sha256": sha256 or ""}


def _distilled(stage: dict, taught_by: str) -> Distilled:
    """What the configuration of a student says of its distillation."""
    steps, spacing = stage["steps"], stage["spacing"]
    spacing = None if steps is None else spacing
    return Distilled(taught_by, float(_up_to(stage["conditioner"])), steps, spacing, stage["thresholding"])


def _up_to(conditioner: dict) -> float:
    """The largest guidance weight that the conditioner of a student tells."""
    return conditioner["up_to"] if "up_to" in conditioner else _up_to(conditioner["others"])


def _with_hash_of_clip(conditioner: dict) -> dict:
    """The conditioner with the sha256 of the CLIP whose vectors it tells, if it tells any."""
    inner = {"others": _with_hash_of_clip(conditioner["others"])} if "others" in conditioner else {}
    clip = conditioner.get("clip")
    if clip is not None and clip["sha256"] is None:
        inner["clip"] = clip | {"sha256": FrozenClip(clip["path"], clip["features"]).sha256}
    return conditioner | inner


def _innermost(conditioner: dict) -> dict:
    """The conditioner of Imagen inside those that add a signal, each of which keeps the next as `others`."""
    return _innermost(conditioner["others"]) if "others" in conditioner else conditioner
