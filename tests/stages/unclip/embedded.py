"""A small batch of pictures of the shapes world, and the CLIP that looks at them."""

from functools import partial

import torch

from imagen.data.batch import Batch
from imagen.data.pixels import from_uint8
from imagen.data.shapes_source import ShapesSource
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.parameterisations import X0Prediction
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.weightings import UnweightedLoss
from imagen.networks.prior import PriorTransformer
from imagen.places import ROOT
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.unclip.clip import FrozenClip
from imagen.stages.unclip.conditioners import PriorConditioner

FEATURES, TEXT_FEATURES = 64, 8
CLIP = {
    "_target_": "imagen.stages.unclip.clip.FrozenClip",
    "path": str(ROOT / "assets" / "judge_a"),
    "features": FEATURES,
    "sha256": None,
}
LARGE = 32


def make_clip(**changes) -> FrozenClip:
    return FrozenClip(**({"path": CLIP["path"], "features": FEATURES} | changes))


def shapes_batch(count: int = 6, side: int = 8) -> Batch:
    """Pictures, reduced to `side`, with their captions; text vectors are random, the same for the same count."""
    source = ShapesSource(seed=3, size=64, split="train", resolution=LARGE)
    examples = [source[i] for i in range(count)]
    large = torch.cat([from_uint8(example.image[None]) for example in examples])
    text = torch.randn(count, 2, TEXT_FEATURES, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(count, 2, dtype=torch.bool)
    captions = tuple(example.captions[0] for example in examples)
    small = torch.nn.functional.interpolate(large, size=side, mode="area")
    return Batch(small, text, mask, torch.arange(count), captions, 0, large=large)


def prior_stage(**changes) -> DiffusionStage:
    torch.manual_seed(0)
    network = PriorTransformer(FEATURES, TEXT_FEATURES, width=64, layers=2, heads=2)
    stage = {
        "name": "prior",
        "denoiser": Denoiser(network, X0Prediction(), UnweightedLoss()),
        "conditioner": PriorConditioner(make_clip()),
        "schedule": CosineSchedule(),
        "optimizer": partial(torch.optim.AdamW, lr=2e-3),
        "resolution": 1,
        "ema_decay": 0.9,
    }
    return DiffusionStage(**(stage | changes))
