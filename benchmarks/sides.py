"""Does a base stage know from the caption alone which object goes where? `python benchmarks/sides.py FOLDER ...`.

Each FOLDER is an exported base stage of the shapes world. For captions "a A to the left of a B" (right, above, below)
of held-out compositions, the x0 that the denoiser predicts from pure noise is multiplied by the template "colour of A
minus colour of B on A's half, the opposite on the other half". The mean product is printed relative to that of true
pictures: 1 is everything that can be known, 0 is nothing. No sampling is needed, so seconds are enough to see whether
relations are being learned.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from imagen.commandline.command import prepare_environment
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.noise_level import NoiseLevel
from imagen.places import ROOT
from imagen.shapes import Position, Scene, draw, sample_scene
from imagen.shapes.vocabulary import COLOUR_RGB
from imagen.stages.export import load_stage
from imagen.text.encoders import HuggingFaceEncoder

LOG_SNRS = (-12.0, -8.0, -5.0, -3.0)


def template(scene: Scene, side: int) -> np.ndarray:
    """The difference that swapping the two objects makes to the picture, up to scale; shape (3, side, side)."""
    first, relation, second = scene.description.first, scene.description.relation, scene.description.second
    colours = (np.array(COLOUR_RGB[first.colour], float) - np.array(COLOUR_RGB[second.colour])) / 127.5
    halves = np.tile(np.sign(np.linspace(-1, 1, side)), (side, 1))
    halves = relation.sign * (halves if relation.axis == 0 else halves.T)
    return halves[None] * colours[:, None, None]


def position_scenes(count: int) -> list[Scene]:
    """Held-out scenes of two objects with different colours and a stated relation."""
    scenes, index = [], 0
    while len(scenes) < count:
        scene = sample_scene(1, index, "held_out")
        what = scene.description
        if isinstance(what, Position) and what.first.colour != what.second.colour:
            scenes.append(scene)
        index += 1
    return scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--captions", type=int, default=300)
    options = parser.parse_args()
    prepare_environment()
    scenes = position_scenes(options.captions)
    encoder = HuggingFaceEncoder(ROOT / "assets" / "shapes_t5", device="cpu")
    text, mask = encoder([scene.caption for scene in scenes]).pad()
    for folder in options.folders:
        stage = load_stage(folder)
        side = stage.model.resolution
        templates = torch.tensor(np.stack([template(scene, side) for scene in scenes]), dtype=torch.float32)
        pixels = torch.tensor(np.stack([draw(scene, side) for scene in scenes])).permute(0, 3, 1, 2) / 127.5 - 1
        knowable = (pixels * templates).mean()
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
        print(f"{folder}, step {stage.description.step}")
        for log_snr in LOG_SNRS:
            level = NoiseLevel(torch.full((len(scenes),), log_snr))
            with torch.inference_mode():
                x0 = stage.model.denoiser(noise, level, Conditioning(text=TextSignal(text, mask)))
            known = (x0 * templates).mean((1, 2, 3)) / knowable
            error = known.std() / len(known) ** 0.5
            print(f"  log-SNR {log_snr:5.1f}: {known.mean():.3f} ± {error:.3f} of what can be known")


if __name__ == "__main__":
    main()
