"""Self-conditioning: what the network is told of its own estimates, in training and in sampling."""

from functools import partial

import pytest
import torch
from lightning import Trainer
from small_stages import denoiser_config

from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import sample_images
from imagen.data.batch import Batch
from imagen.data.tensor_batches import TensorBatches
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.parameterisations import X0Prediction
from imagen.diffusion.samplers import DDIMSampler, HeunSampler, Sampler
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.thresholding import StaticThresholding
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.instantiation import instantiate_stage_part
from imagen.randomness import make_generator
from imagen.stages.conditioners import LowResConditioner, PictureConditioner, TextConditioner
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.self_conditioner import SelfConditioner

IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
TEXT = TextSignal(torch.randn(8, 2, 8, generator=torch.Generator().manual_seed(1)), torch.ones(8, 2) > 0)
BATCH = Batch(IMAGES, TEXT.values, TEXT.mask, torch.arange(8), ("",) * 8, 0)


class Recorded(torch.nn.Module):
    """A network that says the estimate that it is told back, plus one; `told` is what it was told, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))
        self.told: list[torch.Tensor] = []

    def forward(self, z, log_snr, conditioning):
        self.told.append(conditioning["estimate"].images.detach().clone())
        return conditioning["estimate"].images + self.one


def recording_stage(share: float = 0.5, **options: object) -> tuple[DiffusionStage, Recorded]:
    network = Recorded()
    denoiser = Denoiser(network, X0Prediction(), UnweightedLoss())
    optimizer = partial(torch.optim.SGD, lr=0.0)
    stage = DiffusionStage(
        "base", denoiser, SelfConditioner(TextConditioner(), share), CosineSchedule(), optimizer, 8, **options
    )
    return stage, network


def test_half_of_a_batch_is_told_a_first_estimate_and_the_target_stays_the_picture():
    stage, network = recording_stage()
    losses, _ = stage._losses(stage.denoiser, BATCH, make_generator("any"), training=True)
    first, second = network.told
    assert first.shape == (4, 3, 8, 8)
    assert not first.any()
    assert torch.equal(second, torch.cat([torch.ones(4, 3, 8, 8), torch.zeros(4, 3, 8, 8)]))
    prediction = second + 1  # of x0: with the estimate as the target it would be 1 away from it everywhere
    assert torch.allclose(losses, (prediction - IMAGES).square().mean(dim=(1, 2, 3)))


@pytest.mark.parametrize(("one", "estimate"), [(0.4, 0.4), (3.0, 1.0)])
def test_a_first_estimate_is_clamped_and_passes_on_no_gradient(one, estimate):
    stage, network = recording_stage()
    network.one.data.fill_(one)
    losses, _ = stage._losses(stage.denoiser, BATCH, make_generator("any"), training=True)
    assert torch.allclose(network.told[1][:4], torch.tensor(estimate))
    losses.mean().backward()
    error = torch.cat([torch.full((4, 3, 8, 8), estimate + one), torch.full((4, 3, 8, 8), one)]) - IMAGES
    assert torch.allclose(network.one.grad, 2 * error.mean())  # of the second pass alone


@pytest.mark.parametrize(("share", "told"), [(0.0, {0}), (1.0, {8}), (0.5, {4}), (0.3, {2, 3})])
def test_the_share_of_a_batch_is_rounded_by_chance(share, told):
    stage, network = recording_stage(share)
    counts = []
    for i in range(200):
        network.told.clear()
        stage._losses(stage.denoiser, BATCH, make_generator(i), training=True)
        counts.append(int(network.told[-1].flatten(1).any(dim=1).sum()))
    assert set(counts) == told
    assert sum(counts) / 1600 == pytest.approx(share, abs=0.02)


def test_under_autocast_the_second_pass_has_all_its_gradients():
    """Before torch 2.14 autocast used a weight again that it had cast without a gradient."""
    config = denoiser_config(low_res=False)
    config["network"]["concatenated"] = ["estimate"]
    torch.manual_seed(0)
    denoiser = instantiate_stage_part(config)
    conditioner = SelfConditioner(TextConditioner())
    stage = DiffusionStage("base", denoiser, conditioner, CosineSchedule(), torch.optim.SGD, 8)
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = stage._losses(denoiser, BATCH, make_generator("any"), training=True)
        losses.mean().backward()
    assert [name for name, weight in denoiser.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("sampler", [DDIMSampler(4), HeunSampler(3)])
def test_sampling_tells_the_estimate_before_after_guidance_and_thresholding(sampler: Sampler):
    stage, network = recording_stage()
    network.one.data.fill_(0.4)
    settings = SamplingSettings(sampler, ClassifierFreeGuidance(3.0), StaticThresholding())
    seen = []
    generators = [make_generator(i) for i in range(8)]
    model = stage.averaged()
    model.denoiser.network.told = told = []
    sample_images(model, Conditioning(text=TEXT), settings, generators, watch=lambda _, estimate: seen.append(estimate))
    assert len(told) == len(seen) > 3
    assert not told[0].any()
    for now, before in zip(told[1:], seen, strict=False):
        assert torch.equal(now, before.x0.repeat(2, 1, 1, 1))  # with the caption, and without
    assert seen[-1].x0.unique().tolist() == [1.0]  # .4, .8, 1.2: thresholded


def test_a_picture_does_not_depend_on_the_others_of_its_batch():
    config = denoiser_config(low_res=False)
    config["network"]["concatenated"] = ["estimate"]
    torch.manual_seed(0)
    denoiser = instantiate_stage_part(config)
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    conditioner = SelfConditioner(TextConditioner())
    model = DiffusionStage("base", denoiser, conditioner, CosineSchedule(), torch.optim.SGD, 8).averaged()
    settings = SamplingSettings(DDIMSampler(3), ClassifierFreeGuidance(2.0), StaticThresholding())

    def sample(rows):
        return sample_images(model, Conditioning(text=TEXT.take(rows)), settings, [make_generator(i) for i in rows])

    with torch.no_grad():
        assert torch.allclose(sample(range(8))[3:5], sample([3, 4]), atol=1e-5)


@pytest.mark.parametrize("outside", ["estimate", "condition"])
def test_it_works_around_other_signals_and_inside_them(outside):
    others = LowResConditioner(4, 8, CosineSchedule())
    if outside == "estimate":
        conditioner = SelfConditioner(PictureConditioner(others, 0.5))
    else:
        conditioner = PictureConditioner(SelfConditioner(others), 0.5)
    assert conditioner.factor == 2
    batch = Batch(IMAGES, TEXT.values, TEXT.mask, torch.arange(8), ("",) * 8, 0, IMAGES)
    names = {"text", "low_res", "condition", "estimate"}
    told = conditioner.for_training(batch, make_generator("any"))
    assert told.keys() == conditioner.for_validation(batch, make_generator("any")).keys() == names
    assert conditioner.told_first(8, make_generator("any")) == 4
    after = conditioner.with_estimate(told, IMAGES)
    assert torch.equal(after["estimate"].images, IMAGES)
    assert torch.equal(after["condition"].images, told["condition"].images)
    given = conditioner.given(batch)
    assert given.keys() == {"text", "smaller", "condition"}
    generators = [make_generator(i) for i in range(8)]
    assert conditioner.for_sampling(given, (8, 8), 0.0, generators).keys() == names


def test_it_trains_and_a_run_repeats_itself(tmp_path):
    def weights():
        config = denoiser_config(low_res=False)
        config["network"]["concatenated"] = ["estimate"]
        torch.manual_seed(0)
        conditioner = SelfConditioner(TextConditioner(), share=0.3)
        optimizer = partial(torch.optim.AdamW, lr=1e-3)
        stage = DiffusionStage(
            "base", instantiate_stage_part(config), conditioner, CosineSchedule(), optimizer, resolution=8
        )
        Trainer(max_steps=3, barebones=True, accelerator="cpu").fit(stage, TensorBatches(IMAGES, TEXT, batch_size=4))
        return torch.cat([weight.flatten() for weight in stage.denoiser.parameters()])

    assert torch.equal(weights(), weights())


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(UserError, match=rf"share={share} of the training pictures .* must be in \[0, 1\]"):
        SelfConditioner(TextConditioner(), share)
