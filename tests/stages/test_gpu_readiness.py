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
from small_stages import denoiser_config, describe, export_random_stage
from torch import Tensor, nn

from benchmarks.deepfloyd.tiny import save_if_base
from imagen.cascade.embeddings import FromPrior
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
from imagen.diffusion.unclip.vectors import CAPTION_EMBEDDING, PICTURE_EMBEDDING, VectorSignal
from imagen.evaluation.judges.dinov2 import Dinov2
from imagen.evaluation.judges.inception import Inception, TensorFlowResize
from imagen.instantiation import as_dict, instantiate
from imagen.places import ROOT
from imagen.planning.step import planned_stage
from imagen.published.adoption import adopt
from imagen.randomness import make_generator
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.distillation.student import StudentStage
from imagen.stages.export import TrainedStage, load_stage
from imagen.stages.unclip.clip import FrozenClip

COUNT, TOKENS, FEATURES, VECTOR = 4, 3, 256, 64


def planned(compose_config, *overrides: str) -> DiffusionStage:
    """A small stage on the meta device. What its schedule computes of itself is computed."""
    small = [] if "stage=prior" in overrides else TINY_NETWORK
    return planned_stage(compose_config("train", *small, "resolutions=[8,16,32]", *overrides))


def batch_of(side: int) -> Batch:
    """As the loader makes it: on the CPU."""
    images, text = torch.zeros(COUNT, 3, side, side), torch.zeros(COUNT, TOKENS, FEATURES)
    mask, ids = torch.ones(COUNT, TOKENS, dtype=torch.bool), torch.zeros(COUNT, dtype=torch.int64)
    return Batch(images, text, mask, ids, ("a", "") * (COUNT // 2), 0, images, images)


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


class PlacedClip(FrozenClip):
    """One whose network is on the GPU already: tensors without numbers cannot be put elsewhere in place."""

    def _model_on(self, device: torch.device) -> nn.Module:
        assert device == CUDA
        return self._towers[0]


def clip_of(stage: DiffusionStage) -> nn.Module:
    """The network of unCLIP's CLIP, which a plan leaves out, in the stage again; to be placed."""
    conditioner: Any = stage.conditioner
    conditioner.clip = PlacedClip(str(ROOT / "assets" / "judge_a"), VECTOR)
    return conditioner.clip._towers[0]


@pytest.mark.parametrize("kind", ["base_unclip", "prior"])
def test_stages_that_look_at_pictures_do_so_on_the_gpu(kind, compose_config):
    stage = planned(compose_config, f"stage={kind}")
    network = clip_of(stage)
    with absent_gpu() as watch:
        place(network)
        assert train_one_step(stage, watch) == 1


def student(compose_config, folder, kind: str, taught: bool, *overrides: str) -> StudentStage:
    """A student of an exported stage, which was itself taught (`taught`), on the meta device with its teacher."""
    chosen = [*TINY_NETWORK, "resolutions=[8,16,32]", f"stage={kind}_distilled", f"init_from={folder}", *overrides]
    config = compose_config("train", *chosen)
    sizes = (8, None) if kind == "base" else (16, 8)
    denoiser = denoiser_config(kind != "base", FEATURES)
    changes = {name: as_dict(config.stage[name]) for name in ("schedule", "conditioner" if taught else "schedule")}
    denoiser["network"]["guidance"] = taught
    export_random_stage(folder, kind, *sizes, denoiser=denoiser, **changes)
    stage: StudentStage = instantiate(config.stage).to("meta")
    stage.on_fit_start()
    return stage


@pytest.mark.parametrize("kind", ["base", "sr1"])
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("steps", ["null", "4"])
def test_a_student_is_taught_without_waiting(kind, taught, steps, compose_config, tmp_path):
    stage = student(compose_config, tmp_path, kind, taught, f"stage.steps={steps}")
    teacher = stage.teacher.model.denoiser
    assert {parameter.device.type for parameter in teacher.parameters()} == {"meta"}  # it follows its student
    with absent_gpu() as watch:
        place(teacher)
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
        signals = {"start": ImageSignal(smaller), "smaller": ImageSignal(smaller)}
        vectors = VectorSignal.of(torch.zeros(COUNT, VECTOR))
        signals |= {PICTURE_EMBEDDING: vectors, CAPTION_EMBEDDING: vectors}
        given = Conditioning(text=text, **signals).to(CUDA)
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
    *(f"sampler={name}" for name in options("sampler") if name != "deepfloyd"),
    *(f"thresholding={name}" for name in options("thresholding")),
    # These need another stage, below.
    *(f"guidance_rule={name}" for name in options("guidance_rule") if name not in ("autoguidance", "embedding_alone")),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_sampling_never_waits(choice, compose_config, monkeypatch):
    sample(planned(compose_config), monkeypatch, settings(compose_config, choice))


@pytest.mark.parametrize("kind", ["base_self_conditioned", "base_unclip", "prior", "sr1"])
def test_other_stages_are_sampled_without_waiting(kind, compose_config, monkeypatch):
    sample(planned(compose_config, f"stage={kind}"), monkeypatch, settings(compose_config))


def published(compose_config, folder) -> DiffusionStage:
    """A tiny stage of DeepFloyd IF that reads such captions as `batch_of` has."""
    save_if_base(folder)
    text = ["text=deepfloyd", f"text.encoder.path={folder}", "text.features=16"]
    config = compose_config("train", f"init_from={folder}", *text)
    adopt(config)
    network = config.stage.denoiser.network
    network.config.encoder_hid_dim = network.text_features = FEATURES
    network.text_tokens, network.learned_variance = TOKENS, True
    return planned_stage(config)


def test_a_published_stage_is_trained_and_sampled_without_waiting(compose_config, monkeypatch, tmp_path):
    pytest.importorskip("diffusers")
    stage = published(compose_config, tmp_path / "IF-I")
    with absent_gpu() as watch:
        assert train_one_step(stage, watch) == 1
    sample(published(compose_config, tmp_path / "again"), monkeypatch, settings(compose_config, "sampler=deepfloyd"))


def test_guidance_by_an_embedding_never_waits(compose_config, monkeypatch):
    choice = settings(compose_config, "guidance_rule=embedding_alone")
    sample(planned(compose_config, "stage=base_unclip"), monkeypatch, choice)


def test_guidance_by_a_weaker_stage_never_waits(compose_config, monkeypatch, tmp_path):
    export_random_stage(tmp_path, "base", 8, None, denoiser=denoiser_config(low_res=False, features=FEATURES))
    weaker = load_stage(tmp_path)

    def loaded(folder: str, sha256: str, device: str) -> TrainedStage:  # reads a file, and numbers
        assert (folder, device) == (str(tmp_path), str(CUDA))
        place(weaker.model.denoiser)
        return weaker

    monkeypatch.setattr("imagen.stages.guides.autoguidance._loaded", loaded)
    chosen = settings(compose_config, "guidance_rule=autoguidance", f"guidance_rule.weaker={tmp_path}")
    sample(planned(compose_config), monkeypatch, chosen)
    assert next(weaker.model.denoiser.parameters()).device == CUDA


@pytest.mark.parametrize("kind", ["base", "sr1"])
def test_a_student_is_sampled_without_waiting(kind, compose_config, monkeypatch, tmp_path):
    stage = student(compose_config, tmp_path, kind, False)
    sample(stage, monkeypatch, settings(compose_config))


def test_a_prior_draws_and_chooses_its_vectors_on_the_gpu(compose_config, monkeypatch):
    stage, source = planned(compose_config, "stage=prior"), FromPrior(draws=2)
    path = path_of(stage.averaged(), source._settings)
    monkeypatch.setattr("imagen.cascade.stage.path_of", lambda *_: path)
    prior = TrainedStage(describe("prior", 1, None), stage.averaged())
    with absent_gpu():
        place(stage)
        text = TextSignal(torch.zeros(COUNT, TOKENS, FEATURES), torch.ones(COUNT, TOKENS, dtype=torch.bool))
        caption = VectorSignal.of(torch.zeros(COUNT, VECTOR))
        given = Conditioning(text=text, **{CAPTION_EMBEDDING: caption}).to(CUDA)
        drawn = source(given, FrozenClip("any", VECTOR), prior, [(0, i) for i in range(COUNT)])
        assert (drawn.values.device, drawn.values.shape) == (CUDA, (COUNT, VECTOR))


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
