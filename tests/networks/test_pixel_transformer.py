"""Another network in the place of the U-Net: `pixel_transformer.py`, its configuration, and this test."""

from collections.abc import Callable
from functools import partial

import pytest
import test_networks
import torch
from lightning import Trainer
from pixel_transformer import PixelTransformer
from small_networks import TEXT_FEATURES
from small_stages import COSINE, describe

from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import sample_images
from imagen.data.tensor_batches import TensorBatches
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.thresholding import StaticThresholding
from imagen.instantiation import instantiate
from imagen.plugins import using_plugins
from imagen.randomness import make_generator
from imagen.stages.conditioners import TextConditioner
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.export import export_stage, load_stage

CONFIG = {
    "_target_": "imagen.diffusion.denoiser.Denoiser",
    "network": {
        "_target_": "pixel_transformer.PixelTransformer",
        "patch": 2,
        "width": 64,
        "depth": 2,
        "heads": 2,
        "text_features": TEXT_FEATURES,
    },
    "parameterisation": {"_target_": "imagen.diffusion.parameterisations.VPrediction"},
    "weighting": {"_target_": "imagen.diffusion.weightings.UnweightedLoss"},
}


def make(low_res: bool) -> PixelTransformer:
    torch.manual_seed(0)
    return PixelTransformer(2, 64, 2, 2, TEXT_FEATURES, low_res)


@pytest.mark.parametrize("low_res", [False, True], ids=["base", "super-resolution"])
@pytest.mark.parametrize(
    "promise",
    [
        test_networks.test_output_has_the_shape_of_z_and_starts_at_zero,
        test_networks.test_non_square_images_pass,
        test_networks.test_longer_padding_changes_nothing,
        test_networks.test_every_token_is_read_and_its_place_is_the_encoder_s_business,
        test_networks.test_dropped_text_equals_no_tokens_at_all,
        test_networks.test_every_parameter_is_trained,
        test_networks.test_images_of_a_batch_do_not_see_each_other,
        test_networks.test_noise_level_and_low_resolution_image_are_read,
    ],
    ids=lambda promise: promise.__name__.removeprefix("test_"),
)
def test_it_keeps_what_the_other_networks_promise(promise: Callable[..., None], low_res: bool) -> None:
    promise(partial(make, low_res))


def test_it_trains_samples_and_comes_back_from_an_export(tmp_path) -> None:
    with using_plugins(["pixel_transformer"]):
        torch.manual_seed(0)
        stage = DiffusionStage(
            "base", instantiate(CONFIG), TextConditioner(), CosineSchedule(), partial(torch.optim.AdamW, lr=2e-3),
            resolution=8, ema_decay=0.95,
        )  # fmt: skip
        images = torch.tensor([0.8, -0.8, -0.8])[None, :, None, None].expand(4, -1, 8, 8)
        caption = TextSignal(torch.randn(4, 3, TEXT_FEATURES), torch.ones(4, 3, dtype=torch.bool))
        Trainer(max_steps=100, barebones=True).fit(stage, TensorBatches(images, caption, batch_size=8))
        export_stage(
            tmp_path, describe("base", 8, None, denoiser=CONFIG, schedule=COSINE), stage.ema.module.state_dict()
        )
        loaded = load_stage(tmp_path).model
    settings = SamplingSettings(DDIMSampler(8), ClassifierFreeGuidance(1.0), StaticThresholding())
    given = Conditioning(text=caption)
    pictures = [
        sample_images(model, given, settings, [make_generator(0, i) for i in range(4)])
        for model in (stage.averaged(), loaded)
    ]
    assert torch.equal(*pictures)
    assert (pictures[0].mean((2, 3)) - images.mean((2, 3))).abs().max() < 0.3
