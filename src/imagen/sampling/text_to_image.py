"""Trained stages made ready to sample from captions; shared by sample.py and evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig

from imagen.cascade import Cascade, SamplingSettings
from imagen.checks.names import as_name, printable
from imagen.commandline.numbers import check_numbers
from imagen.data.pixels import to_uint8
from imagen.diffusion.conditioning import Conditioning, ImageSignal, OtherSizeImages, TextSignal
from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import instantiate, resolved
from imagen.runs.find import find_stages
from imagen.runs.trainer import has_fast_bfloat16
from imagen.runs.weights import AVERAGED, load_weights
from imagen.sampling.text_source import open_text
from imagen.tensors import Images
from imagen.text.sources import RememberedText, TextSource


@dataclass(frozen=True)
class Studio:
    """A cascade with the text source it was trained on."""

    cascade: Cascade
    text: TextSource
    device: torch.device
    autocast: bool
    batch_size: int
    seed: int

    def pictures(
        self, captions: Sequence[str], picture_ids: Sequence[int], settings: Sequence[SamplingSettings]
    ) -> list[np.ndarray]:
        """Pictures of every stage that has settings, uint8, (captions, height, width, 3) each, in batches."""
        return [to_uint8(images) for images in self.images(captions, picture_ids, settings)]

    def images(
        self,
        captions: Sequence[str],
        picture_ids: Sequence[int],
        settings: Sequence[SamplingSettings],
        smaller: OtherSizeImages | None = None,
        first: int = 0,
    ) -> list[Images]:
        """As `Cascade.sample`, in batches."""
        batches = []
        for start in range(0, len(captions), self.batch_size):
            part = slice(start, start + self.batch_size)
            given = Conditioning(text=TextSignal(*self.text.embed(list(captions[part])).pad()))
            if smaller is not None:
                given = Conditioning(given, smaller=ImageSignal(smaller[part]))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                batches.append(self.cascade.sample(given, self.seed, list(picture_ids[part]), settings, first))
        return [torch.cat(stage) for stage in zip(*batches, strict=True)]


def open_studio(config: DictConfig) -> Studio:
    """Find, load and check the stages that `config.cascade` names, and say which they are.

    Raises:
        UserError: if they do not fit together or were trained on another text encoder.
    """
    check_numbers(config)
    how = config.cascade
    device = _device(how.device)
    folders = _folders(config)
    stages = [load_weights(folder, how.weights, device) for folder in folders]
    for folder, stage in zip(folders, stages, strict=True):
        this = stage.description
        kind = "" if how.weights == AVERAGED else f", {how.weights} weights"
        place = printable(str(folder))
        print(f"stage {this.name}: {place} ({this.resolution} × {this.resolution}, step {this.step}{kind})", flush=True)
    names = [stage.description.name for stage in stages]
    if how.stop_at is not None:
        if how.stop_at not in names:
            raise UserError(f"cascade.stop_at={how.stop_at}: no such stage here; choose one of {', '.join(names)}")
        stages = stages[: names.index(how.stop_at) + 1]
    text = RememberedText(open_text(resolved(config.text), folders, [stage.description for stage in stages]))
    return Studio(Cascade(stages), text, device, _autocast(how.precision, device), how.batch_size, how.seed)


def settings_for(config: DictConfig, stages: int, weights: Sequence[float]) -> list[SamplingSettings]:
    """Settings of each stage, whose guidance rule gets its weight; the last of `weights` serves all stages after it."""
    guidance = [weights[min(i, len(weights) - 1)] for i in range(stages)]
    thresholding = instantiate(config.thresholding)
    samplers = [instantiate(config.sampler), instantiate(config.sr_sampler)]
    return [
        SamplingSettings(
            samplers[min(i, 1)],
            instantiate(config.guidance_rule, weight=float(weight)),
            thresholding,
            float(config.cascade.aug_level),
        )
        for i, weight in enumerate(guidance)
    ]


def _folders(config: DictConfig) -> list[Path]:
    if config.cascade.stages is not None:
        return [user_path(folder) for folder in listed(config.cascade, "stages", "cascade.stages")]
    names = None
    if config.cascade.runs is not None:
        names = [as_name(name, "cascade.runs") for name in listed(config.cascade, "runs", "cascade.runs")]
    folders = find_stages(user_path(config.paths.runs), user_path(config.paths.assets) / "cascade", names)
    if not folders:
        raise UserError(f"no finished base stage under {config.paths.runs}; train one with python train.py stage=base")
    return folders


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"cascade.device={name}: this machine has no GPU; use cascade.device=cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"cascade.device={name}: choose auto, cpu or cuda")
    return torch.device(name)


def _autocast(precision: str, device: torch.device) -> bool:
    if precision not in ("auto", "32-true", "bf16-mixed"):
        raise UserError(f"cascade.precision={precision}: choose auto, 32-true or bf16-mixed")
    return precision == "bf16-mixed" or (precision == "auto" and has_fast_bfloat16(device.type))


def listed(config: DictConfig, name: str, key: str) -> list[Any]:
    """The list `config[name]`, which a user knows as `key`. A lone value is refused: a text would be taken by letters.

    Raises:
        UserError: unless it is a list.
    """
    value = config[name]
    if not isinstance(value, ListConfig):
        raise UserError(f"{key}={value} must be a list: {key}=[{value}]")
    return list(value)
