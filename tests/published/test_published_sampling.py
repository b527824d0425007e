"""A cascade of published stages in the commands: what is recorded of the learned variance, and what is refused."""

import json

import pytest
import torch
from in_this_process import call_here
from PIL import Image
from small_stages import export_random_stage

from imagen.cascade.cascade import Cascade
from imagen.cascade.settings import SamplingSettings
from imagen.diffusion.conditioning import Conditioning, ImageSignal
from imagen.diffusion.discrete.spacing import LeadingSpacing
from imagen.diffusion.guidance import ClassifierFreeGuidance, PerSignalGuidance
from imagen.diffusion.rules.projected import ProjectedGuidance
from imagen.diffusion.samplers import DDPMSampler
from imagen.diffusion.thresholding import StaticThresholding
from imagen.errors import UserError
from imagen.inputs.signals import caption_signals
from imagen.sampling.text_to_image import TextToImage
from imagen.stages.export import load_stage

pytest.importorskip("diffusers")

LEARNED = DDPMSampler(4, LeadingSpacing(), learned_variance=True)


@pytest.fixture(scope="module")
def model(if_base, if_upscaler):
    return TextToImage.load(if_base, if_upscaler)


def settings(sampler=LEARNED, guidance=None, **others):
    return SamplingSettings(sampler, guidance or ClassifierFreeGuidance(3), StaticThresholding(), **others)


def told(model, caption):
    return caption_signals([caption], lambda: model.text, None, None, torch.device("cpu"))


def test_guidance_in_one_pass_and_in_two_takes_the_same_variance(model):
    """That of the conditional branch, under every rule: a step would show the other's."""
    given = told(model, "a red circle")
    pictures = [
        model.cascade.sample(given, 0, [0], [settings(guidance=rule)])[0]
        for rule in (
            ClassifierFreeGuidance(3),
            ClassifierFreeGuidance(3, batched=False),
            ProjectedGuidance(weight=3, eta=1.0),
        )
    ]
    torch.testing.assert_close(pictures[0], pictures[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(pictures[0], pictures[2], rtol=0, atol=1e-4)
    fixed = model.cascade.sample(given, 0, [0], [settings(DDPMSampler(4, LeadingSpacing()))])[0]
    assert (pictures[0] - fixed).abs().max() > 1e-2


def test_what_became_of_the_learned_variance_is_always_recorded(model):
    used = model.describe([settings(), settings(aug_level=0.25)], 0)
    dropped = model.describe([settings(DDPMSampler(4)), settings(DDPMSampler(4), aug_level=0.25)], 0)
    assert [facts["learned_variance"] for facts in used] == ["used", "used"]
    assert [facts["learned_variance"] for facts in dropped] == ["dropped", "dropped"]
    assert "learned_variance" not in TextToImage.load().describe([settings(DDPMSampler(4))], 0)[0]


def test_passes_are_counted_with_a_learned_variance(model):
    assert model.cascade.passes([settings(), settings(guidance=ClassifierFreeGuidance(1))]) == {"base": 8, "sr1": 4}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (
            settings(guidance=PerSignalGuidance({"text": 3}, ["text"])),
            "does not go with tile_overlap, nor with guidance",
        ),
        (settings(tile_overlap=0.25), "does not go with tile_overlap, nor with guidance"),
    ],
)
def test_what_would_mix_up_the_variance_is_refused(model, one, message):
    with pytest.raises(UserError, match=message):
        model.cascade.check([one])


def test_a_stage_that_says_no_variance_is_refused():
    with pytest.raises(UserError, match=r"stage 'base' says no variance: sampler.learned_variance=true"):
        TextToImage.load().cascade.check([settings()])


def test_a_stage_trained_without_text_goes_behind_any(model, tmp_path):
    export_random_stage(tmp_path / "sr2", "sr2", 128, low_resolution=64, text={"model": "none", "features": 8})
    cascade = Cascade([*model.cascade.stages, load_stage(tmp_path / "sr2")])
    plain = [settings(DDPMSampler(2), aug_level=level) for level in (0.0, 0.25, 0.1)]
    smaller, pictures = cascade.sample(told(model, "a red circle"), 0, [0], plain)[1:]
    assert pictures.shape == (1, 3, 128, 128)
    other = Conditioning(told(model, "a blue square"), smaller=ImageSignal(smaller))
    again = cascade.sample(other, 0, [0], plain, first=2)[-1]
    assert torch.equal(again, pictures), "the caption says nothing to it"


def test_sample_py_draws_from_the_folders_as_published(if_base, if_upscaler, tmp_path):
    few = ["sampler.num_steps=4", "sr_sampler.num_steps=2", f"out={tmp_path / 'out'}", "count=1"]
    stages = f"cascade.stages=[{if_base},{if_upscaler}]"
    done = call_here("sample.py", "cascade=deepfloyd", stages, "prompt=a red circle", "guidance_weights=[7]", *few)
    assert done.returncode == 0, done.stderr
    picture = Image.open(tmp_path / "out" / "sr1" / "00000.png")
    assert picture.size == (64, 64)
    said = json.dumps(picture.text)
    assert all(part in said for part in ("learned_variance", "LeadingSpacing", '\\"cap\\": 1.0'))
    assert f"text encoder: {if_base}" in done.stdout


def test_evaluate_py_draws_the_curve_of_published_stages(if_base, if_upscaler, tmp_path):
    few = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "prompts.count=4", "strips.prompts=0", "grid_prompts=2"]
    stages = f"cascade.stages=[{if_base},{if_upscaler}]"
    sweep = ["guidance=deepfloyd", "guidance.weights=[7]", f"out={tmp_path / 'out'}", "cascade=deepfloyd", stages]
    done = call_here("evaluate.py", *sweep, *few)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["cells"]) == 2
    assert {cell["curve"] for cell in results["cells"]} == {"published", "imagen"}
