"""A prior and a decoder in a cascade: where the embedding comes from, and which stages fit together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from small_stages import FEATURES as TEXT_FEATURES
from small_stages import denoiser_config, export_random_stage

from imagen.cascade.cascade import Cascade
from imagen.cascade.embeddings import FromCaption, FromPicture, FromPrior
from imagen.cascade.prior import default_embedding
from imagen.cascade.settings import SamplingSettings
from imagen.data.pixels import to_uint8
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.thresholding import StaticThresholding
from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import list_prompts, shapes_prompts
from imagen.inputs.edits import PictureInputs
from imagen.instantiation import configuration_of
from imagen.places import ROOT
from imagen.runs.find import find_stages
from imagen.sampling.command import sampling_command
from imagen.sampling.curves import CascadeCurve
from imagen.sampling.text_to_image import TextToImage
from imagen.stages.export import load_stage, read_description
from imagen.stages.unclip.clip import FrozenClip

CLIP = {
    "_target_": "imagen.stages.unclip.clip.FrozenClip",
    "path": str(ROOT / "assets" / "judge_a"),
    "features": 64,
    "sha256": "1" * 64,
}
CAPTIONS = VectorSignal.of(torch.randn(4, 64, generator=torch.Generator().manual_seed(5)))
TEXT = torch.randn(4, 3, TEXT_FEATURES, generator=torch.Generator().manual_seed(6))
GIVEN = Conditioning(text=TextSignal(TEXT, torch.ones(4, 3, dtype=torch.bool)), caption_embedding=CAPTIONS)


def export_prior(folder: Path, clip: dict = CLIP, **changes: object) -> Path:
    network = {
        "_target_": "imagen.networks.prior.PriorTransformer",
        "features": 64, "text_features": TEXT_FEATURES, "width": 32, "layers": 1, "heads": 2,
    }  # fmt: skip
    x0 = {"_target_": "imagen.diffusion.parameterisations.X0Prediction"}
    denoiser = denoiser_config(low_res=False) | {"network": network, "parameterisation": x0}
    conditioner = {"_target_": "imagen.stages.unclip.conditioners.PriorConditioner", "clip": clip}
    export_random_stage(folder, "prior", 1, None, denoiser=denoiser, conditioner=conditioner, **changes)
    return folder


def export_decoder(folder: Path, clip: dict = CLIP, **changes: object) -> Path:
    denoiser = denoiser_config(low_res=False)
    level = denoiser["network"]["levels"][0]
    denoiser["network"] = {
        "_target_": "imagen.networks.unet.UNet",
        "levels": [level], "text_features": TEXT_FEATURES, "embedding_features": 32, "picture_embedding": 64,
    }  # fmt: skip
    conditioner = {
        "_target_": "imagen.stages.unclip.conditioners.PictureEmbeddingConditioner",
        "others": {"_target_": "imagen.stages.conditioners.TextConditioner"},
        "clip": clip,
        "dropout": 0.1,
    }
    export_random_stage(folder, "base", 8, None, denoiser=denoiser, conditioner=conditioner, **changes)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    export_prior(folder / "prior" / "mine" / "export")
    export_decoder(folder / "base" / "mine" / "export")
    export_random_stage(folder / "sr1" / "mine" / "export", "sr1", 16, 8)
    return folder


@pytest.fixture(scope="module")
def stages(folder):
    return [load_stage(folder / role / "mine" / "export") for role in ("prior", "base", "sr1")]


def settings(embedding=None, weight=2.0):
    how = SamplingSettings(DDIMSampler(3), ClassifierFreeGuidance(weight), StaticThresholding(), 0.1)
    return [replace(how, embedding=embedding), how]


def sample(stages, embedding, ids=(0, 1, 2, 3), given=GIVEN, seed=0):
    return Cascade.of(stages).sample(given.take(list(ids)), seed, ids, settings(embedding))


def test_a_cascade_makes_pictures_of_what_its_prior_draws(stages):
    base, sr1 = sample(stages, FromPrior())
    assert (base.shape, sr1.shape) == ((4, 3, 8, 8), (4, 3, 16, 16))
    others = [FromPrior(weight=3), FromPrior(draws=1), FromCaption()]
    for other in others:
        assert not torch.equal(sample(stages, other)[0], base), other
    assert torch.equal(sample(stages, FromPrior())[0], base)
    assert not torch.equal(sample(stages, FromPrior(), seed=1)[0], base)


def test_a_picture_does_not_depend_on_its_batch(stages):
    together = sample(stages, FromPrior())
    alone = sample(stages, FromPrior(), ids=[2])
    for batch, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[2:3], single, atol=1e-5, rtol=1e-4)


def test_of_several_draws_the_one_most_like_the_caption_is_taken(stages):
    keys = [(0, i) for i in range(4)]
    with torch.inference_mode():
        first, best = (FromPrior(draws=n)(GIVEN, FrozenClip("any", 64), stages[0], keys) for n in (1, 8))
    likeness = [(one.values * CAPTIONS.values).sum(dim=1) for one in (first, best)]
    assert (likeness[1] >= likeness[0] - 1e-4).all()
    assert (likeness[1] > likeness[0] + 1e-2).any()
    assert best.present.all()


def test_a_vector_of_the_prior_is_not_thresholded(stages, monkeypatch):
    """Its numbers have a mean square of 1 and are no brightness."""
    keys = [(0, i) for i in range(4)]
    estimates = 3 * torch.randn(4, 64, 1, 1, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(stages[0].model.denoiser, "forward", lambda *of: estimates)
    drawn = FromPrior(sampler=DDIMSampler(2))(GIVEN, FrozenClip("any", 64), stages[0], keys)
    torch.testing.assert_close(drawn.values, VectorSignal.of(estimates.flatten(1)).values)


def test_the_embedding_of_a_picture_is_that_of_the_picture(folder, stages):
    clip = CLIP | {"sha256": None}
    decoder = load_stage(export_decoder(folder / "reads", clip))
    looked_at = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    given = Conditioning(text=GIVEN["text"], looked_at=ImageSignal(looked_at))
    pictures = sample([decoder, stages[2]], FromPicture(), given=given)
    others = Conditioning(given, looked_at=ImageSignal(looked_at.flip(0)))
    assert not torch.equal(sample([decoder, stages[2]], FromPicture(), given=others)[0], pictures[0])
    with pytest.raises(UserError, match="there is no signal 'looked_at' here"):
        sample([decoder, stages[2]], FromPicture(), given=GIVEN)


def test_what_does_not_fit_together_is_refused(folder, stages, tmp_path):
    prior, base, sr1 = stages
    other = load_stage(export_prior(tmp_path / "clip", CLIP | {"sha256": "2" * 64}))
    foreign = load_stage(export_prior(tmp_path / "text", text={"model": "other", "max_length": 16}))
    plain = tmp_path / "plain"
    export_random_stage(plain, "base", 8, None)
    for chosen, message in (
        ([prior], "a prior makes no pictures: give the stage that draws"),
        ([other, base], r"vectors of another CLIP \(222222222222…\) than stage 'base' reads \(111111111111…\)"),
        ([foreign, base], r"the prior and stage 'base' were trained on different text encoders \(model: other"),
        ([prior, load_stage(plain)], "stage 'base' reads no embedding of a picture, and there is a prior"),
    ):
        with pytest.raises(UserError, match=message):
            Cascade.of(chosen)
    for chosen, embedding, message in (
        ([base, sr1], FromPrior(), "stage 'base' draws what a prior gives it, and there is none: train one"),
        ([base, sr1], None, "reads the embedding of a picture, and nothing says whose: choose embedding=prior, cap"),
        ([load_stage(plain), sr1], FromCaption(), "stage 'base' reads no embedding of a picture: leave out embedding="),
    ):
        with pytest.raises(UserError, match=message):
            sample(chosen, embedding)
    for arguments, message in (
        ({"draws": 0}, "draws=0 of the prior must be a whole number of at least 1"),
        ({"weight": -1}, "guidance weight is -1"),
    ):
        with pytest.raises(UserError, match=message):
            FromPrior(**arguments)


def test_a_stage_is_described_with_the_source_of_its_embedding(stages):
    described = settings(FromPrior(weight=2))[0].describe()["embedding"]
    assert described == configuration_of(FromPrior(weight=2))
    assert (described["weight"], described["draws"]) == (2, 2)
    assert "embedding" not in settings()[0].describe()
    assert default_embedding(stages[1]) == FromPrior()
    assert default_embedding(stages[2]) is None


def test_a_stage_of_a_moved_clip_is_the_same(folder, tmp_path):
    moved = read_description(export_decoder(tmp_path / "moved", CLIP | {"path": "/elsewhere/judge_a"}))
    assert moved.identity == read_description(folder / "base" / "mine" / "export").identity
    other = read_description(export_decoder(tmp_path / "other", CLIP | {"sha256": "2" * 64}))
    assert other.identity != moved.identity


def test_the_newest_prior_that_fits_comes_before_its_decoder(folder, tmp_path):
    exports = [folder / role / "mine" / "export" for role in ("prior", "base", "sr1")]
    assert find_stages(folder, tmp_path) == exports
    runs = tmp_path / "runs"
    export_decoder(runs / "base" / "a" / "export")
    assert find_stages(runs, tmp_path) == [runs / "base" / "a" / "export"]
    export_prior(runs / "prior" / "b" / "export", CLIP | {"sha256": "2" * 64})
    assert find_stages(runs, tmp_path) == [runs / "base" / "a" / "export"]


def test_a_card_says_how_to_sample_from_prior_and_decoder_together(folder):
    prior, base, sr1 = (folder / role / "mine" / "export" for role in ("prior", "base", "sr1"))
    for stage, listed in ((prior, [prior, base]), (base, [prior, base]), (sr1, [prior, base, sr1])):
        command = sampling_command(read_description(stage), stage, folder)
        assert f"cascade.stages=[{','.join(map(str, listed))}]" in command


def test_a_curve_looks_at_the_true_picture_of_each_prompt(stages):
    config = OmegaConf.create({"embedding": {"_target_": "imagen.cascade.embeddings.FromPicture"}})
    model, prompts = TextToImage(Cascade(stages[1:]), lambda: pytest.fail("read")), shapes_prompts(5, seed=3)
    curve = CascadeCurve(model, config, "base_guidance", [1.0], prompts)
    looked_at = to_uint8(curve.inputs([3, 1]).signals["looked_at"].images)
    assert np.array_equal(looked_at, np.stack([prompts.draw_truth(i, 16) for i in (3, 1)]))
    for others in (None, list_prompts(["a red circle"])):
        with pytest.raises(UserError, match="looks at the true pictures of the prompts, and these have none"):
            replace(curve, prompts=others).inputs([0])
    plain = replace(curve, config=OmegaConf.create({"embedding": None}))
    assert plain.inputs([3, 1]) == PictureInputs()
    assert curve.clips == {CLIP["sha256"]}
