"""Training and sampling on a GPU that is not there: nothing is on the wrong device, nothing waits for the GPU unseen.

The backward pass needs a driver; its gradients are given.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from absent_gpu import CUDA, HiddenWaitError, absent_gpu, place
from small_configurations import TINY_NETWORK, options
from torch import Tensor, nn

from imagen.cascade.settings import SamplingSettings, path_of
from imagen.cascade.stage import sample_images
from imagen.clip.preprocessing import ClipPreprocessing
from imagen.clip.towers import load_towers, picture_features
from imagen.data.batch import Batch
from imagen.devices import moved
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.corrections import KnownPixels
from imagen.diffusion.guidance import IntervalGuidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.evaluation.judges.dinov2 import Dinov2
from imagen.evaluation.judges.inception import Inception, TensorFlowResize
from imagen.instantiation import as_dict, instantiate
from imagen.places import ROOT
from imagen.planning.step import planned_stage
from imagen.randomness import make_generator
from imagen.stages.diffusion_stage import DiffusionStage

COUNT, TOKENS, FEATURES = 4, 3, 256


def planned(compose_config, *overrides: str) -> DiffusionStage:
    """A small stage on the meta device. What its schedule computes of itself is computed."""
    return planned_stage(compose_config("train", *TINY_NETWORK, "resolutions=[8,16,32]", *overrides))


def batch_of(side: int) -> Batch:
    """As the loader makes it: on the CPU."""
    images, text = torch.zeros(COUNT, 3, side, side), torch.zeros(COUNT, TOKENS, FEATURES)
    mask, ids = torch.ones(COUNT, TOKENS, dtype=torch.bool), torch.zeros(COUNT, dtype=torch.int64)
    return Batch(images, text, mask, ids, ("",) * COUNT, 0, images, None)


def train_one_step(stage: DiffusionStage, watch, accumulate: int = 2) -> int:
    """A step of the optimizer; how often the host waited for the GPU."""
    place(stage)
    stage._device = CUDA
    stage._trainer = SimpleNamespace(
        global_rank=0, global_step=0, world_size=1, strategy=SimpleNamespace(reduce=lambda tensor, reduce_op: tensor)
    )
    stage.log = lambda *_, **__: None
    optimizer = stage.configure_optimizers()["optimizer"]
    for i in range(accumulate):
        batch = batch_of(stage.resolution).to(CUDA)
        loss = stage.training_step(batch, i)
        assert (loss.device, loss.dtype) == (CUDA, torch.float32)
    for parameter in stage.denoiser.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with watch.allowed():
        stage.configure_gradient_clipping(optimizer, 1.0)
    optimizer.step()
    stage.ema.update(stage.denoiser, 1)
    stage.guard.forget()
    stage.validation_step(batch, 0)
    return watch.waited


STAGES = ["base", "base_self_conditioned", "base_with_picture", "sr1", "sr2"]


@pytest.mark.parametrize("kind", STAGES)
def test_a_step_of_every_kind_of_stage_waits_once_to_see_whether_it_is_finite(kind, compose_config):
    small_sr = ["stage/network=sr_micro"] if kind.startswith("sr") else []
    stage = planned(compose_config, f"stage={kind}", *small_sr)
    with absent_gpu() as watch:
        assert train_one_step(stage, watch) == 1


@pytest.mark.parametrize("kind", ["base", "sr1"])
@pytest.mark.parametrize("diffusion", options("stage/diffusion"))
def test_every_choice_of_diffusion_trains_without_waiting(diffusion, kind, compose_config):
    stage = planned(compose_config, f"stage={kind}", f"stage/diffusion={diffusion}")
    with absent_gpu() as watch:
        assert train_one_step(stage, watch, accumulate=1) == 1


WEIGHTINGS = ["UnweightedLoss", "ConstantEpsWeighting", "MinSNRWeighting", "SigmoidWeighting", "TruncatedSNRWeighting"]
PARAMETERISATIONS = ["EpsPrediction", "X0Prediction", "VPrediction", "FlowPrediction", "EDMPrediction"]


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_loss_is_on_the_gpu_alone(parameterisation, weighting, compose_config):
    bias = "bias: 1.0, " if weighting == "SigmoidWeighting" else ""
    stage = planned(compose_config)
    for name, kind in (("parameterisation", parameterisation), ("weighting", weighting)):
        node = {"_target_": f"imagen.diffusion.{name}s.{kind}"} | ({"bias": 1.0} if bias and kind == weighting else {})
        setattr(stage.denoiser, name, instantiate(node))
    with absent_gpu():
        place(stage)
        stage.log = lambda *_, **__: None
        assert stage.training_step(batch_of(8).to(CUDA), 0).device == CUDA


@pytest.mark.parametrize("optimizer", options("stage/optimizer"))
def test_an_optimizer_steps_without_waiting(optimizer, compose_config):
    stage = planned(compose_config, f"stage/optimizer={optimizer}")
    with absent_gpu() as watch:
        assert train_one_step(stage, watch) == 1


def sample(stage: DiffusionStage, monkeypatch, settings: SamplingSettings, corrected: bool = False) -> None:
    """Pictures of a stage; the host waits for none of them."""
    path = path_of(stage.averaged(), settings)  # the host's own arithmetic, with numbers
    monkeypatch.setattr("imagen.cascade.stage.path_of", lambda *_: path)
    seen = []
    with absent_gpu() as watch:
        place(stage)
        text = TextSignal(torch.zeros(COUNT, TOKENS, FEATURES), torch.ones(COUNT, TOKENS, dtype=torch.bool))
        smaller = torch.zeros(COUNT, 3, 8, 8)
        given = Conditioning(text=text, start=ImageSignal(smaller), smaller=ImageSignal(smaller)).to(CUDA)
        known = KnownPixels(torch.zeros(3, 16, 16), torch.ones(16, 16, dtype=torch.bool))
        corrections = [known, None] * (COUNT // 2) if corrected else None
        generators = [make_generator(0, i) for i in range(COUNT)]
        watched = sample_images(
            stage.averaged(),
            given,
            settings,
            generators,
            corrections,
            lambda _, estimate: seen.append(estimate.log_snr),
        )
        assert (watched.device, len(watched), watch.waited) == (CUDA, COUNT, 0)
    assert seen[0] == path[0]


def settings(compose_config, *choices: str, **others: Any) -> SamplingSettings:
    config = compose_config("sample", "prompt=a", *choices)
    rule = as_dict(config.guidance_rule)
    told = {"weights": {"text": 3.0}, "order": ["text"]} if "weights" in rule else {"weight": 3.0}
    guidance = instantiate(rule | told)
    sampler = instantiate(config.sampler, num_steps=3)
    return SamplingSettings(sampler, guidance, instantiate(config.thresholding), aug_level=0.1, **others)


CHOICES = [
    *(f"sampler={name}" for name in options("sampler")),
    *(f"thresholding={name}" for name in options("thresholding")),
    # autoguidance reads another stage from a file; embedding_alone needs one of unCLIP.
    *(f"guidance_rule={name}" for name in options("guidance_rule") if name not in ("autoguidance", "embedding_alone")),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_sampling_never_waits(choice, compose_config, monkeypatch):
    sample(planned(compose_config), monkeypatch, settings(compose_config, choice))


@pytest.mark.parametrize("kind", ["base_self_conditioned", "sr1"])
def test_other_stages_are_sampled_without_waiting(kind, compose_config, monkeypatch):
    sample(planned(compose_config, f"stage={kind}"), monkeypatch, settings(compose_config))


@pytest.mark.parametrize(
    "others", [{"resample": 2}, {"strength": 0.5}, {"size": (16, 32), "tile_overlap": 0.25}], ids=str
)
def test_edits_and_tiles_are_sampled_without_waiting(others, compose_config, monkeypatch):
    corrected = "size" not in others
    sample(planned(compose_config, "stage=sr1"), monkeypatch, settings(compose_config, **others), corrected)


def test_levels_of_their_own_must_be_asked_for():
    """The one place where a rule waits: images at different levels, which no sampler of ours has."""
    rule = IntervalGuidance(3.0, -2.0, 2.0)
    with absent_gpu(), pytest.raises(HiddenWaitError):
        rule(
            lambda z, *_: z,
            torch.zeros(2, 3, 4, 4, device=CUDA),
            NoiseLevel(torch.zeros(2, device=CUDA)),
            Conditioning(),
        )


def test_the_watch_sees_a_wrong_device_and_every_kind_of_wait():
    with absent_gpu():
        there = torch.zeros(3, device=CUDA)
        with pytest.raises(Exception, match=r"two devices|same device"):
            there + torch.zeros(3)
        for wait in (lambda t: t[0].item(), Tensor.cpu, lambda t: bool(t.any()), lambda t: torch.zeros(3).to(CUDA)):
            with pytest.raises(HiddenWaitError):
                wait(there)
        assert moved(torch.zeros(3), CUDA).device == CUDA


def judges() -> dict[str, Callable[[], tuple[nn.Module, Callable[[nn.Module], Tensor]]]]:
    """Feature extractors with small random weights: the network, and what asks it for features of eight pictures."""
    pixels = partial(torch.zeros, 8, 16, 16, 3, dtype=torch.uint8)

    def clip() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
        model, _ = load_towers(ROOT / "assets" / "judge_a", "judge")
        preprocessing = ClipPreprocessing.from_folder(ROOT / "assets" / "judge_a")
        return model, lambda placed: picture_features(placed, preprocessing, pixels())

    def dino() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
        from transformers import Dinov2Config, Dinov2Model

        config = Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=14)
        judge = Dinov2.__new__(Dinov2)
        judge.device, judge.batch_size, judge.model = CUDA, 4, Dinov2Model(config).eval()
        return judge.model, lambda placed: judge.image_features(pixels())

    def inception() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
        judge = Inception.__new__(Inception)
        network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1))
        judge.device, judge.batch_size, judge.resize, judge.network = CUDA, 4, TensorFlowResize(), network
        return network, lambda placed: judge.image_features(pixels())

    return {"clip": clip, "dino": dino, "inception": inception}


@pytest.mark.parametrize("name", judges())
def test_judges_compute_on_the_gpu_and_give_features_on_the_host(name, monkeypatch):
    model, features = judges()[name]()
    monkeypatch.setattr(  # Pillow's resize, of numbers that are not there
        "imagen.evaluation.judges.dinov2.preprocess", lambda batch: torch.zeros(len(batch), 3, 224, 224)
    )
    with absent_gpu(waits=True):
        place(model)
        found = features(model)
    assert (len(found), found.device.type, found.dtype) == (8, "cpu", torch.float32)
