"""The folder of a published DeepFloyd IF stage, as diffusers lays it out: configurations and weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from imagen.checks.arguments import Count, fits
from imagen.checks.foreign import read_json
from imagen.errors import UserError
from imagen.files import fingerprint, sha256_of_file

UNET, SCHEDULER, NOISING = "unet", "scheduler", "image_noising_scheduler"
WEIGHTS = "diffusion_pytorch_model"
WAY_OUT = "fetch the folder again"

BETAS = {"squaredcos_cap_v2": "cosine", "linear": "linear"}
"""diffusers' names of the tables of `DiscreteSchedule`."""


def is_published(folder: Path) -> bool:
    """Whether `folder` is laid out as a pipeline of diffusers with a U-Net."""
    try:
        return (folder / UNET / "config.json").is_file()
    except (OSError, ValueError):  # what no file system takes as a name
        return False


def read_config(folder: Path, *parts: str) -> dict[str, Any]:
    """The JSON object in a file of the folder.

    Raises:
        UserError: if it is missing or holds anything else.
    """
    path = folder.joinpath(*parts)
    try:
        values = read_json(path, WAY_OUT, max_bytes=1 << 20)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {WAY_OUT}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a JSON object is expected, found {type(values).__name__}; {WAY_OUT}")
    return values


def schedule_of(folder: Path, part: str) -> dict[str, Any]:
    """The configuration of the `DiscreteSchedule` that `part`/scheduler_config.json describes.

    Raises:
        UserError: for a scheduler of another kind than DeepFloyd IF's.
    """
    config = read_config(folder, part, "scheduler_config.json")
    where = folder / part / "scheduler_config.json"
    betas = config.get("beta_schedule")
    if not isinstance(betas, str) or betas not in BETAS or config.get("trained_betas") is not None:
        raise UserError(f"{where}: beta_schedule={betas!r:.60} is not known; {' and '.join(BETAS)} are")
    if config.get("rescale_betas_zero_snr"):
        raise UserError(f"{where}: rescale_betas_zero_snr is not known; DeepFloyd IF does without")
    if part == SCHEDULER and config.get("prediction_type", "epsilon") != "epsilon":
        raise UserError(f"{where}: prediction_type={config['prediction_type']!r:.60}; DeepFloyd IF predicts epsilon")
    if part == SCHEDULER and config.get("variance_type") != "learned_range":
        raise UserError(f"{where}: variance_type={config.get('variance_type')!r:.60}; DeepFloyd IF's is learned_range")
    steps, ends = config.get("num_train_timesteps"), [config.get("beta_start", 1e-4), config.get("beta_end", 0.02)]
    if not fits(steps, Count) or not fits(ends, list[float]):
        raise UserError(f"{where}: num_train_timesteps={steps!r:.60}, betas {ends!r:.60} are no numbers; {WAY_OUT}")
    schedule = {
        "_target_": "imagen.diffusion.discrete.schedule.DiscreteSchedule",
        "betas": BETAS[betas],
        "steps": steps,
    }
    return schedule | ({"beta_start": ends[0], "beta_end": ends[1]} if betas == "linear" else {})


def weights_of(folder: Path) -> list[Path]:
    """The safetensors files of the U-Net: the whole one, its shards, or those in float16, whichever comes first.

    Raises:
        UserError: if there are none, or one is missing.
    """
    place = folder / UNET
    for name in (WEIGHTS, f"{WEIGHTS}.fp16"):
        if (whole := place / f"{name}.safetensors").is_file():
            return [whole]
        stem, _, variant = name.partition(".")
        index = f"{stem}.safetensors.index{'.' if variant else ''}{variant}.json"
        if (place / index).is_file():
            return _shards(folder, index)
    raise UserError(
        f"{place}: no {WEIGHTS}.safetensors; only safetensors weights are read: fetch that file "
        "(docs/how-to/deepfloyd.md)"
    )


def _shards(folder: Path, index: str) -> list[Path]:
    weight_map = read_config(folder, UNET, index).get("weight_map")
    if not isinstance(weight_map, dict) or not fits(weight_map, dict[str, str]):
        raise UserError(f"{folder / UNET / index}: weight_map must name a file for each tensor; {WAY_OUT}")
    files = [folder / UNET / name for name in sorted(set(weight_map.values()))]
    for file in files:
        if file.parent != folder / UNET or not file.is_file():
            raise UserError(f"{file} is missing, and {index} names it: {WAY_OUT}")
    return files


def sha256_of(files: list[Path]) -> str:
    """Of the weights: that of the file, or of the list of the hashes of several."""
    hashes = [sha256_of_file(file) for file in files]
    return hashes[0] if len(hashes) == 1 else fingerprint(hashes)


def read_weights(files: list[Path]) -> Mapping[str, Tensor]:
    """Every tensor of the U-Net, in float32, under the names that `DeepFloydUNet` has for them.

    Raises:
        UserError: for a damaged file, or one without the U-Net's last convolution.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            state |= {f"unet.{name}": tensor.float() for name, tensor in load_file(file).items()}
        except SafetensorError as error:
            raise UserError(f"{file}: {error}; {WAY_OUT}") from None
    return _split(state, files[0])


def _split(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The last convolution as that of the noise, its first half, and that of the variance."""
    for kind in ("weight", "bias"):
        name = f"unet.conv_out.{kind}"
        if name not in state or len(state[name]) % 2:
            raise UserError(f"{file}: no conv_out.{kind} of an even number of channels; {WAY_OUT}")
        noise, variance = torch.chunk(state.pop(name), 2)
        state |= {f"unet.conv_out.noise.{kind}": noise.clone(), f"unet.conv_out.variance.{kind}": variance.clone()}
    return state
