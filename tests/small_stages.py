"""Small trained-looking stages: real networks and real exports, random weights."""

from pathlib import Path

import torch

from imagen.instantiation import instantiate_stage_part
from imagen.stages.export import StageDescription, TrainedStage, export_stage, load_stage

COSINE = {"_target_": "imagen.diffusion.schedules.CosineSchedule", "log_snr_min": -15.0, "log_snr_max": 15.0}
TEXT = {"model": "small", "max_length": 16}
FEATURES = 8


def denoiser_config(low_res: bool, features: int = FEATURES) -> dict:
    level = {"_target_": "imagen.networks.levels.LevelSpec", "stride": 2, "channels": 32, "num_blocks": 1}
    attention = {"_target_": "imagen.networks.attention.SelfAttentionSpec", "head_channels": 32, "expansion": 1}
    return {
        "_target_": "imagen.diffusion.denoiser.Denoiser",
        "network": {
            "_target_": "imagen.networks.efficient_unet.EfficientUNet",
            "text_features": features,
            "embedding_features": 32,
            "stem_channels": 32,
            "low_res": low_res,
            "checkpointing": False,
            "levels": [level | {"attention": attention}],
        },
        "parameterisation": {"_target_": "imagen.diffusion.parameterisations.VPrediction"},
        "weighting": {"_target_": "imagen.diffusion.weightings.UnweightedLoss"},
    }


def describe(name: str, resolution: int, low_resolution: int | None, **changes: object) -> StageDescription:
    fields = {
        "name": name,
        "resolution": resolution,
        "low_resolution": low_resolution,
        "denoiser": denoiser_config(low_resolution is not None),
        "schedule": COSINE,
        "augmentation": COSINE if low_resolution else None,
        "text": TEXT,
        "step": 3,
        "images_seen": 12,
    }
    return StageDescription(**(fields | changes))


def export_random_stage(
    folder: Path, name: str, resolution: int, low_resolution: int | None, **changes: object
) -> None:
    """An exported stage whose weights are random everywhere, so that every input has an effect on the output."""
    description = describe(name, resolution, low_resolution, **changes)
    torch.manual_seed(0)
    denoiser = instantiate_stage_part(description.denoiser)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    export_stage(folder, description, denoiser.state_dict())


def export_readers_of_shapes_t5(folder: Path) -> list[str]:
    """A base and a super-resolution stage for the shipped text encoder; their folders."""
    from imagen.places import ROOT
    from imagen.text.encoders import HuggingFaceEncoder

    encoder = HuggingFaceEncoder(ROOT / "assets" / "shapes_t5", device="cpu")
    for name, resolution, low_resolution in (("base", 8, None), ("sr1", 16, 8)):
        denoiser = denoiser_config(low_resolution is not None, encoder.features)
        export_random_stage(
            folder / name, name, resolution, low_resolution, text=encoder.fingerprint, denoiser=denoiser
        )
    return [str(folder / "base"), str(folder / "sr1")]


def small_cascade(folder: Path) -> list[TrainedStage]:
    """A base stage of 8 × 8 pixels and a super-resolution stage to 16 × 16."""
    export_random_stage(folder / "base", "base", 8, None)
    export_random_stage(folder / "sr1", "sr1", 16, 8)
    return [load_stage(folder / "base"), load_stage(folder / "sr1")]


def export_picture_reader(folder: Path, **changes: object) -> None:
    """A base stage of 8 × 8 pixels that is also told a picture, the signal `condition`."""
    denoiser = denoiser_config(low_res=False)
    denoiser["network"]["concatenated"] = ["condition"]
    conditioners = "imagen.stages.conditioners."
    text = {"_target_": f"{conditioners}TextConditioner"}
    conditioner = {"_target_": f"{conditioners}PictureConditioner", "others": text, "dropout": 0.1}
    export_random_stage(folder, "base", 8, None, denoiser=denoiser, conditioner=conditioner, **changes)
