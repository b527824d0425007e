"""A model to sample from, as a configuration describes it; shared by sample.py and evaluate.py."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from imagen.cascade import Cascade
from imagen.checks.names import as_name, printable
from imagen.commandline.numbers import check_numbers
from imagen.devices import choose_device, uses_autocast
from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import instantiate
from imagen.runs.saved_config import saved_sections
from imagen.runs.weights import AVERAGED
from imagen.sampling.command import text_overrides
from imagen.sampling.configured import listed
from imagen.sampling.loading import load_stages, newest_stages
from imagen.sampling.text_to_image import TextToImage
from imagen.text.sources import TextSource


def open_model(config: DictConfig) -> TextToImage:
    """Find, load and check the stages that `config.cascade` names, and say which they are.

    Raises:
        UserError: if they do not fit together or were trained on another text encoder.
    """
    check_numbers(config)
    wanted = config.cascade
    device = choose_device(wanted.device, "cascade.device")
    autocast = uses_autocast(wanted.precision, device, "cascade.precision")
    folders = _folders(config)
    stages = load_stages(folders, wanted.weights, device, wanted.stop_at, "cascade.stop_at")
    for folder, stage in zip(folders, stages, strict=False):
        this = stage.description
        kind = "" if wanted.weights == AVERAGED else f", {wanted.weights} weights"
        place = printable(str(folder))
        print(f"stage {this.name}: {place} ({this.resolution} × {this.resolution}, step {this.step}{kind})", flush=True)
    source = _text_source(config.text)
    _check_text(source, stages[0].description.text, folders[0])
    return TextToImage(
        Cascade(stages),
        source,
        device=device,
        autocast=autocast,
        batch_size=wanted.batch_size,
        weights=wanted.weights,
    )


def _folders(config: DictConfig) -> list[Path]:
    if config.cascade.stages is not None:
        return [user_path(folder) for folder in listed(config.cascade, "stages", "cascade.stages")]
    names = None
    if config.cascade.runs is not None:
        names = [as_name(name, "cascade.runs") for name in listed(config.cascade, "runs", "cascade.runs")]
    return newest_stages(user_path(config.paths.runs), user_path(config.paths.assets) / "cascade", names)


def _text_source(config: DictConfig) -> TextSource:
    """A few captions need no cache. Each is encoded alone: beside others its vectors would be rounded in another way,
    and its picture would depend on its neighbours."""
    changes: dict[str, Any] = {"mode": "online"} if "mode" in config else {}
    if "batch_size" in config.get("encoder", {}):
        changes["encoder"] = {"batch_size": 1}
    return instantiate(config, **changes)


def _check_text(text: TextSource, trained_on: dict | None, stage: Path) -> None:
    """Raises UserError where `stage` was trained on another text, with the overrides that choose it if known."""
    if text.fingerprint == trained_on:
        return
    way_out = f"name the encoder of {trained_on} in text=..."
    config = (stage.parent if stage.suffix == ".ckpt" else stage).parent / "config.yaml"
    with suppress(UserError, OSError):  # an export that came without its run has none
        way_out = f"add {shlex.join(text_overrides(saved_sections(config).text))}"
    raise UserError(
        f"{stage} was trained on another text encoder than text= names ({text.fingerprint}): {way_out}, or take other "
        "stages with cascade.runs=[...]"
    )
