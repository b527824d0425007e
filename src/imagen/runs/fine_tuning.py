"""Start a new run from the weights of an exported stage: python train.py init_from=assets/cascade/base name=tuned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from imagen.errors import UserError
from imagen.files import user_path
from imagen.networks.adapters.low_rank import is_addition, name_without
from imagen.networks.embedding import GuidanceEmbedding
from imagen.published.adoption import published_start
from imagen.published.folder import is_published
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.ema import WeightAverage
from imagen.stages.export import describe_misfit, load_stage
from imagen.text.record import differences, name_of

HOW_IT_IS_COMPUTED = ("training", "checkpointing")


def begin(stage: DiffusionStage, config: DictConfig, text: dict[str, Any] | None) -> None:
    """Start `stage` from `config.init_from`, an exported stage or a published one. Raises as `begin_with`."""
    folder = user_path(config.init_from)
    if is_published(folder):
        _begin_with_published(stage, folder, config)
    else:
        begin_with(stage, folder, text)


def _begin_with_published(stage: DiffusionStage, folder: Path, config: DictConfig) -> None:
    """The network is the published one (`adopt`), perhaps with additions, which begin without effect."""
    published, sha256 = published_start(folder, config)
    own = stage.denoiser.state_dict()
    state = {name: own[name] if is_addition(name) else published.pop(name_without(name), None) for name in own}
    given = {name: tensor for name, tensor in (state | published).items() if tensor is not None}
    if misfit := describe_misfit(own, given):
        raise UserError(f"init_from={folder}: weights and config.json do not fit: {misfit}; fetch the folder again")
    _take(stage, given, sha256)
    print(f"starting from {folder}", flush=True)


def _take(stage: DiffusionStage, state: Mapping[str, torch.Tensor], sha256: str) -> None:
    stage.denoiser.load_state_dict(state)
    stage.ema = WeightAverage(stage.denoiser, stage.ema.decay)
    stage.init_from = sha256


def begin_with(stage: DiffusionStage, folder: Path, text: dict[str, Any] | None) -> None:
    """Load the weights in `folder` into `stage` and its moving average; `stage.init_from`, which exports record, is
    their sha256.

    Schedule, weighting and optimizer are the new run's own. The network and its parameterisation must be the same, and
    so must the text encoder, whose fingerprint is `text`: with the vectors of another one the weights are meaningless.

    Raises:
        UserError: if there is no complete exported stage in `folder`, or it is of another network, parameterisation or
            text encoder.
    """
    start = load_stage(folder)
    described = start.description
    if described.text != text:
        encoder = f" ({name_of(described.text_source)})" if described.text_source else ""
        raise UserError(
            f"init_from={folder}: trained on another text encoder than this run's "
            f"({differences(described.text, text)}); choose the text= of that stage{encoder}"
        )
    wanted, given = (type(denoiser.parameterisation).__name__ for denoiser in (stage.denoiser, start.model.denoiser))
    if wanted != given:
        raise UserError(
            f"init_from={folder}: its network predicts by {given}, this run's by {wanted}; choose the stage/diffusion "
            "that it was trained with"
        )
    state = start.model.denoiser.state_dict()
    state |= _without_effect_yet(stage.denoiser, known=state)
    if misfit := describe_misfit(stage.denoiser.state_dict(), state):
        raise UserError(f"init_from={folder}: another network than this run's: {misfit}; choose its stage/network")
    there, here = _settings(start.model.denoiser), _settings(stage.denoiser)
    for name in there:
        if there[name] != here.get(name):
            raise UserError(
                f"init_from={folder}: another network than this run's: {name} is {there[name]}, here {here.get(name)}; "
                "choose its stage/network"
            )
    _take(stage, state, described.weights_sha256)
    print(f"starting from {folder} ({described.images_seen} pictures seen)", flush=True)


def _without_effect_yet(denoiser: nn.Module, known: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by which a network is told its guidance weight, where `known` has none: before training they add
    nothing, so that a student begins as its teacher."""
    told = tuple(f"{path}." for path, part in denoiser.named_modules() if isinstance(part, GuidanceEmbedding))
    return {
        name: weight for name, weight in denoiser.state_dict().items() if name.startswith(told) and name not in known
    }


def _settings(denoiser: nn.Module) -> dict[str, object]:
    """The plain values of every part of a network, such as the number of heads, which no weight's shape reveals."""
    return {
        f"{path}.{name}": value
        for path, part in denoiser.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, bool | int | float | str | tuple) and name not in HOW_IT_IS_COMPUTED
    }
