"""Fine-tuning a published stage: the configuration of a run takes over its network, and begins with its weights."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import as_dict, resolved
from imagen.published.folder import is_published, read_weights, sha256_of, weights_of
from imagen.published.stage import parts_of
from imagen.published.text import PublishedText

TRAINED = {"learned_variance": False}
"""The noise alone is trained, so what the network says of its variance means nothing any more."""


def adopt(config: DictConfig) -> None:
    """If `init_from` is a published stage, put its network, noise schedule, conditioner and size into `config`, which
    keeps its own weighting of the loss, optimizer and data; with `lora`, the network gets additions.

    Raises:
        UserError: if the stage cannot be read, is of another kind than `stage`, or `lora` has no published stage.
    """
    folder = None if config.init_from is None else user_path(config.init_from)
    if folder is None or not is_published(folder):
        if config.lora is not None:
            raise UserError("lora is for published stages: give the folder of one as init_from, or leave it out")
        return
    if "teacher" in config.stage:
        raise UserError(f"init_from={folder}: published stages are not distilled; give an exported stage of yours")
    parts = parts_of(folder, PublishedText.of(resolved(config.text), [folder]).encoder)
    if (parts.low_resolution is None) != (config.stage.name == "base"):
        right = "base" if parts.low_resolution is None else "sr1"
        raise UserError(f"init_from={folder} is not of stage={config.stage.name}: give stage={right}")
    if config.text.features != (width := parts.network["text_features"]):
        raise UserError(f"text.features={config.text.features}, and T5 gives {width}: set text.features={width}")
    checkpointing = bool(OmegaConf.select(config, "stage.denoiser.network.checkpointing", default=False))
    network: dict[str, Any] = {**parts.network, **TRAINED, "checkpointing": checkpointing}
    if config.lora is not None:
        network = {"_target_": "imagen.networks.adapters.low_rank.LowRank", "network": network, **resolved(config.lora)}
    first = 0 if parts.low_resolution is None else 1
    with open_dict(config):
        if len(config.resolutions) <= first or config.resolutions[first] != parts.resolution:
            smallest = parts.resolution // 4**first
            config.resolutions = [smallest * 4**i for i in range(3)]
        config.stage.denoiser.network = network
        config.stage.denoiser.parameterisation = parts.parameterisation
        config.stage.schedule = parts.schedule
        if parts.conditioner is not None:
            config.stage.conditioner = parts.conditioner
    print(f"stage.network, schedule and conditioner: those of {folder}", flush=True)


def published_start(folder: Path, config: DictConfig) -> tuple[dict[str, Tensor], str]:
    """The weights of the denoiser in `folder`, with those of the empty prompt, and their sha256.

    Raises:
        UserError: if they are missing or damaged, or `config.text` is no text source of published stages.
    """
    files, text = weights_of(folder), PublishedText.of(as_dict(config.text), [folder])
    state = {f"network.{name}": tensor for name, tensor in read_weights(files).items()}
    return state | {"network.empty_prompt": text.empty_prompt[0]}, sha256_of(files)
