"""What an export says of a stage whose conditioner wraps another."""

import re

from omegaconf import OmegaConf

from imagen.instantiation import instantiate
from imagen.places import ROOT
from imagen.runs.description import describe
from imagen.stages.conditioners import LowResConditioner, PictureConditioner
from imagen.stages.export import described_conditioner

PAGE = ROOT / "docs" / "how-to" / "condition_on_a_picture.md"


def described(config):
    return describe(config, step=0, images_seen=0, text=None, init_from=None)


def test_a_picture_around_a_super_resolution_stage_keeps_its_sizes(compose_config):
    """The stage of the how-to page."""
    (page,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    written = OmegaConf.create(page)
    choices = [
        f"{key.removeprefix('override /')}={value}" for entry in written.pop("defaults") for key, value in entry.items()
    ]
    composed = compose_config("train", *choices)
    OmegaConf.set_struct(composed, False)  # Hydra, too, merges an experiment before it closes the configuration
    config = OmegaConf.merge(composed, written)
    description = described(config)
    assert (description.low_resolution, description.resolution) == (16, 64)
    assert description.augmentation is not None
    again = described_conditioner(description)
    assert isinstance(again, PictureConditioner)
    assert isinstance(again.others, LowResConditioner)
    network = instantiate(config.stage).denoiser.network
    assert network.stem.in_channels == 9


def test_a_stage_of_imagen_names_no_conditioner(compose_config):
    assert described(compose_config("train", "stage=sr1")).conditioner is None
    assert described(compose_config("train", "stage=base")).low_resolution is None
    pooled = ["stage.denoiser.network.concatenated=[]", "+stage.denoiser.network.pooled=[condition]"]
    config = compose_config("train", "stage=base_with_picture", *pooled)
    assert instantiate(config.stage).denoiser.network.stem.in_channels == 3
    assert described(config).conditioner["others"] == {"_target_": "imagen.stages.conditioners.TextConditioner"}
