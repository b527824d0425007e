"""Parameters and arithmetic of the networks in conf/stage/network, not allocated: python benchmarks/sizes.py"""

from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imagen.diffusion.conditioning import Conditioning, LowResImage, TextSignal
from imagen.diffusion.noise_level import NoiseLevel
from imagen.networks.levels import LevelSpec

CONF = Path(__file__).resolve().parents[1] / "conf"
PRESETS = CONF / "stage" / "network"
SMALL_TEXT, T5_XXL = 256, 4096
RESOLUTIONS = {
    "demo_base": 8,
    "base_pico": 16,
    "base_nano": 16,
    "base_micro": 16,
    "base_tiny": 16,
    "pictures_base": 32,
    "demo_sr": 32,
    "sr_micro": 64,
    "sr_tiny": 64,
    "base_300m": 64,
    "base_2b": 64,
    "sr256_600m": 256,
    "sr1024_400m": 1024,
    "base_unet64": 64,
    "sr_unet256": 256,
    "sr_unet1024": 1024,
}
"""The resolution of the images for which a preset is made."""
PAPER = {"base_300m": 300, "base_2b": 2000, "sr256_600m": 600, "sr1024_400m": 400}
"""Published numbers of parameters, in millions."""
LARGE = {*PAPER, "base_unet64", "sr_unet256", "sr_unet1024"}
"""The presets that read T5-XXL embeddings; the others read those of the shapes T5."""


def composed(preset: str) -> DictConfig:
    """The configuration of a preset."""
    text_features = T5_XXL if preset in LARGE else SMALL_TEXT
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"stage/network={preset}", f"text_features={text_features}"])
    return config.stage.denoiser.network


def preset_levels(preset: str) -> list[LevelSpec]:
    """The levels of a preset."""
    return instantiate(composed(preset).levels, _convert_="all")


def build(preset: str, device: str = "meta") -> nn.Module:
    """The network of a preset."""
    with torch.device(device):
        return instantiate(composed(preset), _convert_="all")


def gigaflops(network: nn.Module, resolution: int, text_features: int, tokens: int = 32) -> float:
    """Gigaflops of one forward pass with one image; a multiplication and an addition count as two."""
    with torch.device("meta"):
        image, log_snr = torch.empty(1, 3, resolution, resolution), torch.empty(1)
        text, mask = torch.empty(1, tokens, text_features), torch.empty(1, tokens, dtype=torch.bool)
        conditioning = Conditioning(text=TextSignal(text, mask))
        if network.embedding.low_res is not None:
            conditioning = Conditioning(conditioning, low_res=LowResImage(image, NoiseLevel(log_snr)))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image, log_snr, conditioning)
    return counter.get_total_flops() / 1e9


def row(preset: str) -> str:
    """One line of the table in docs/reference/networks.md."""
    network, resolution = build(preset), RESOLUTIONS[preset]
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    flops = gigaflops(network, resolution, T5_XXL if preset in LARGE else SMALL_TEXT)
    paper = f"{PAPER[preset]:,} M" if preset in PAPER else "–"
    size = f"{millions:,.0f} M" if preset in LARGE else f"{millions:.2f} M"
    work = f"{flops:,.0f}" if preset in LARGE else f"{flops:.3f}"
    return f"| `{preset}` | {resolution} × {resolution} | {size} | {paper} | {work} |"


if __name__ == "__main__":
    for name in RESOLUTIONS:
        print(row(name), flush=True)
