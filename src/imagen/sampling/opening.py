"""A model to sample from, as a configuration describes it; shared by sample.py and evaluate.py."""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from imagen.cascade.cascade import Cascade
from imagen.checks.names import as_name, printable
from imagen.commandline.numbers import check_numbers
from imagen.devices import choose_device, uses_autocast
from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import resolved
from imagen.runs.weights import AVERAGED
from imagen.sampling.configured import listed
from imagen.sampling.loading import load_stages, newest_stages
from imagen.sampling.text_source import open_text
from imagen.sampling.text_to_image import TextToImage


def open_model(config: DictConfig) -> TextToImage:
    """Find, load and check the stages that `config.cascade` names, and say which they are.

    Their text source is built when it is first asked for (`TextToImage.text`).

    Raises:
        UserError: for stages that are missing, damaged or do not fit together.
    """
    check_numbers(config)
    wanted = config.cascade
    device = choose_device(wanted.device, "cascade.device")
    autocast = uses_autocast(wanted.precision, device, "cascade.precision")
    folders = _folders(config)
    text = resolved(config.text)
    stages = load_stages(folders, wanted.weights, device, wanted.stop_at, "cascade.", text)
    described = [stage.description for stage in stages]
    for folder, this in zip(folders, described, strict=False):
        kind = "" if wanted.weights == AVERAGED else f", {wanted.weights} weights"
        place = printable(str(folder))
        size = "a vector" if this.resolution == 1 else f"{this.resolution} × {this.resolution}"
        print(f"stage {this.name}: {place} ({size}, step {this.step}{kind})", flush=True)
    return TextToImage(
        Cascade.of(stages),
        partial(open_text, text, folders, described, print),
        device=device,
        autocast=autocast,
        batch_size=wanted.batch_size,
        weights=wanted.weights,
    )


def _folders(config: DictConfig) -> list[Path]:
    if config.cascade.stages is not None and config.cascade.runs is not None:
        raise UserError(
            f"cascade.runs={config.cascade.runs} and cascade.stages are both set (cascade=openmoji sets stages): give "
            "one of them"
        )
    if config.cascade.stages is not None:
        return [user_path(folder) for folder in listed(config.cascade, "stages", "cascade.stages")]
    names = None
    if config.cascade.runs is not None:
        names = [as_name(name, "cascade.runs") for name in listed(config.cascade, "runs", "cascade.runs")]
    return newest_stages(user_path(config.paths.runs), user_path(config.paths.assets) / "cascade", names)
