"""The library's front door: from trained stages to pictures, without Hydra and without a trainer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from small_stages import denoiser_config, export_random_stage, export_readers_of_shapes_t5

import imagen
from imagen import TextToImage
from imagen.app.sample import sample
from imagen.data.pixels import to_uint8
from imagen.diffusion.corrections import KnownPixels
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.thresholding import StaticThresholding
from imagen.errors import UserError
from imagen.places import ROOT
from imagen.text.bag_of_words import BagOfWords
from imagen.text.embeddings import TextEmbeddings
from imagen.text.sources import NoText, OnlineText

CAPTION = "a red circle above a blue square on a white background"
FAST = {"steps": 2, "seed": 3}
NONE = {"model": "none", "features": 8}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def model(stages):
    return TextToImage.load(*stages, device="cpu")


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unconditional")
    export_random_stage(folder / "base", "base", 8, None, text=NONE)
    export_random_stage(folder / "sr1", "sr1", 16, 8, text=NONE)
    return TextToImage.load(folder, device="cpu")


def test_pictures_are_those_of_sample_py_for_the_same_seed_and_settings(model, stages, compose_config, tmp_path):
    overrides = ["sampler=ddim", "sampler.num_steps=3", "sampler@sr_sampler=ddpm", "sr_sampler.num_steps=2", "seed=5"]
    more = ["thresholding=static", "guidance_weights=[4,2]", "cascade.aug_level=0.2", "cascade.device=cpu"]
    place = [
        f"cascade.stages=[{','.join(stages)}]",
        f"prompt=[{CAPTION},a green ring]",
        f"out={tmp_path}/out",
        "count=2",
    ]
    sample(compose_config("sample", *overrides, *more, *place))
    made = model(
        [CAPTION, "a green ring"], count=2, seed=5, all_stages=True, guidance_weight=[4, 2], aug_level=0.2,
        sampler={"base": DDIMSampler(3), "sr1": DDPMSampler(2)}, thresholding=StaticThresholding(),
    )  # fmt: skip
    for role in ("base", "sr1"):
        assert len(made[role]) == 4
        for i, picture in enumerate(made[role]):
            saved = Image.open(tmp_path / "out" / role / f"{i:05d}.png")
            assert picture.tobytes() == saved.tobytes()
            assert picture.size == saved.size


def test_defaults_are_those_of_sample_py(model, stages, compose_config, tmp_path):
    overrides = [
        f"cascade.stages=[{','.join(stages)}]",
        f"prompt={CAPTION}",
        f"out={tmp_path}/out",
        "cascade.device=cpu",
    ]
    sample(compose_config("sample", *overrides, "count=1"))
    (picture,) = model(CAPTION)
    assert picture.tobytes() == Image.open(tmp_path / "out" / "sr1" / "00000.png").tobytes()


def test_tensors_are_in_range_and_their_pictures_are_the_same(model):
    images = model.images([CAPTION], **FAST)
    assert (images.shape, images.dtype) == ((1, 3, 16, 16), torch.float32)
    assert -1 <= images.min() < images.max() <= 1
    (picture,) = model([CAPTION], **FAST)
    assert np.array_equal(np.asarray(picture), to_uint8(images)[0])
    every = model.images([CAPTION], all_stages=True, **FAST)
    assert {role: tuple(stage.shape) for role, stage in every.items()} == {"base": (1, 3, 8, 8), "sr1": (1, 3, 16, 16)}
    assert torch.equal(every["sr1"], images)


def test_seed_prompt_and_settings_all_matter(model):
    one = model.images([CAPTION], **FAST)
    assert torch.equal(model.images(CAPTION, **FAST), one)
    others = [{"steps": 2, "seed": 4}, {"steps": 3, "seed": 3}, FAST | {"guidance_weight": 6}]
    assert all(not torch.equal(model.images([CAPTION], **other), one) for other in others)
    assert not torch.equal(model.images(["a green ring"], **FAST), one)


def test_embeddings_that_are_handed_in_make_the_pictures_of_their_captions(model, stages):
    captions = [CAPTION, "a green ring"]
    without = TextToImage.load(*stages, device="cpu")
    without._text = no_encoder
    found = without.images(embeddings=model.text.embed(captions), **FAST)
    assert torch.equal(found, model.images(captions, **FAST))
    assert len(without.images(embeddings=model.text.embed(captions), count=2, **FAST)) == 4


def no_encoder():
    raise AssertionError("the text encoder was asked for")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ({}, 'give either prompts, such as ["a red circle"], or embeddings'),
        ({"prompts": []}, "prompts=[]: there are none"),
        ({"prompts": 5}, 'prompts=5: give texts, such as ["a red circle"]'),
        ({"prompts": ["a"], "corrections": iter([None])}, "corrections=<list_iterator object at"),
        ({"prompts": ["a"], "corrections": [object()]}, "corrections[0]=<object object at"),
        ({"prompts": [" "]}, "prompt 1: a prompt must be a text that is not empty, found ' '"),
        ({"prompts": ["a\0b"]}, "prompt 1: the caption holds the control character U+0000"),
        ({"prompts": ["a"], "count": 0}, "count=0 must be a whole number of at least 1"),
        ({"prompts": ["a"], "steps": 0}, "steps=0 must be"),
        (
            {"embeddings": TextEmbeddings(torch.zeros(2, 8), (2,))},
            "embeddings: vectors of 8 features, the stages read 256",
        ),
        ({"embeddings": TextEmbeddings(torch.full((2, 256), torch.nan), (0, 2))}, "embeddings: row 1 holds NaN"),
        ({"embeddings": TextEmbeddings(torch.zeros(0, 256), ())}, "embeddings: there are no rows"),
        ({"prompts": ["a"], "embeddings": TextEmbeddings(torch.zeros(2, 256), (2,))}, "give either prompts"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(model, call, line, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for a user, whose types nobody checks
    with pytest.raises(UserError) as caught:
        model.images(**call)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_unconditional_stages_take_a_number_and_nothing_else(unconditional):
    pictures = unconditional(count=3, **FAST)
    assert [picture.size for picture in pictures] == [(16, 16)] * 3
    assert len({picture.tobytes() for picture in pictures}) == 3
    for given in ({"prompts": ["a"]}, {"embeddings": TextEmbeddings(torch.zeros(1, 8), (1,))}):
        with pytest.raises(UserError, match=r"trained without text \(text=none\): leave the prompt out, .* count=16"):
            unconditional(**given)


def test_newest_stages_below_runs_are_taken_and_else_those_that_are_shipped(stages, tmp_path):
    for name in ("base", "sr1"):
        shutil.copytree(Path(stages[0]).parent / name, tmp_path / name / "mine" / "export")
    assert [stage.resolution for stage in TextToImage.load(runs=tmp_path).stages] == [8, 16]
    assert repr(TextToImage.load(runs=tmp_path, stop_at="base", device="cpu")) == "TextToImage(base 8 × 8; cpu)"
    shipped = TextToImage.load(runs=tmp_path / "none")
    assert [stage.resolution for stage in shipped.stages] == [16, 64]


@pytest.mark.parametrize(
    ("places", "options", "line"),
    [
        (["/nowhere"], {}, "/nowhere: no such folder; give the folder of an exported stage, or OWNER/NAME on the hub"),
        (
            ["somebody/nothing"],
            {},
            "somebody/nothing: no such folder, and not in the cache of the model hub; download=True",
        ),
        (["somebody/nothing"], {"revision": "v2"}, "somebody/nothing@v2: no such folder"),
        (["somebody/nothing"], {"revision": "../x"}, "somebody/nothing: revision='../x' is no branch, tag or commit"),
        (["x" * 5000], {}, "x" * 120 + ": no such folder; give the folder of an exported stage, or OWNER/NAME on the"),
        (["a\0b"], {}, "a\\x00b: no such folder"),
        (["last.ckpt"], {}, f"{ROOT.parent} is not the folder of a run: config.yaml is missing"),
        (["src"], {}, "src: no exported stage (config.json is missing, and so is base/config.json)"),
        (["assets/cascade"], {"revision": "v2"}, "revision=v2: assets/cascade is a folder of this machine"),
        (["assets/cascade"], {"stop_at": "sr9"}, "stop_at=sr9: no such stage here; choose one of base, sr1"),
        (["assets/cascade"], {"device": "tpu"}, "device=tpu: choose auto, cpu or cuda"),
        (["assets/cascade"], {"precision": "fp16"}, "precision=fp16: choose auto, 32-true or bf16-mixed"),
        (["assets/cascade"], {"weights": "best"}, "weights=best: choose averaged or raw"),
        (["assets/cascade"], {"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        (["assets/cascade"], {"text": NoText(256)}, "text is not what the stages were trained on ("),
        (["assets/cascade/sr1"], {}, "stage 'sr1' "),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(places, options, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as caught:
        TextToImage.load(*places, **options)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_without_a_checkout_it_says_where_the_shipped_stages_are(monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGEN_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=rf"no finished stages below {tmp_path}/runs, .* comes with a checkout"):
        TextToImage.load()


def test_a_repository_in_the_cache_of_the_hub_is_loaded_without_a_connection(stages, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--somebody--shapes"
    shutil.copytree(Path(stages[0]).parent, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "v2").write_text("0" * 40)
    assert TextToImage.load("somebody/shapes", revision="v2", device="cpu").roles == ["base", "sr1"]
    with pytest.raises(UserError, match="somebody/shapes@v3: no such folder, and not in the cache"):
        TextToImage.load("somebody/shapes", revision="v3")


def test_the_text_encoder_may_lie_elsewhere(model, stages, tmp_path, monkeypatch):
    encoder = shutil.copytree(ROOT / "assets" / "shapes_t5", tmp_path / "encoder")
    moved = TextToImage.load(*stages, text=encoder, device="cpu")
    assert torch.equal(moved.images([CAPTION], **FAST), model.images([CAPTION], **FAST))
    monkeypatch.setattr("imagen.sampling.text_source.ROOT", tmp_path)  # as installed without a checkout
    with pytest.raises(UserError, match=r"base records no text encoder, .* give its folder"):
        TextToImage.load(*stages, device="cpu").images([CAPTION], **FAST)


def test_a_text_source_of_ones_own_is_used(tmp_path):
    text = OnlineText(BagOfWords(features=8, max_length=16, seed=0))
    export_random_stage(tmp_path / "base", "base", 8, None, text=text.fingerprint, denoiser=denoiser_config(False, 8))
    model = TextToImage.load(tmp_path, text=text, device="cpu")
    assert not torch.equal(model.images(["a red circle"], **FAST), model.images(["a blue ring"], **FAST))


@pytest.mark.parametrize("sampler", [DDIMSampler(3), DDPMSampler(3), DPMSolverPP2M(3), HeunSampler(3)], ids=repr)
def test_progress_is_counted_in_evaluations_of_the_denoiser_and_changes_no_picture(model, sampler, capsys):
    model.batch_size, before = 2, model.batch_size
    captions = [CAPTION, "a green ring", "a red ring"]
    shown = model.images(captions, progress=True, sampler=sampler)
    error = capsys.readouterr().err
    quiet = model.images(captions, sampler=sampler)
    model.batch_size = before
    total = 2 * 2 * (5 if isinstance(sampler, HeunSampler) else 3)  # batches, stages, evaluations
    assert error.startswith(f"sampling: {total}/{total} in ")
    assert error.count("\n") == 1
    assert capsys.readouterr().err == ""
    assert torch.equal(shown, quiet)


def test_known_pixels_of_one_picture_are_kept_whatever_batch_it_is_in(model):
    picture = torch.linspace(-1, 1, 3 * 16 * 16).reshape(3, 16, 16)
    known = torch.zeros(16, 16, dtype=torch.bool)
    known[:, :8] = True
    captions, corrections = [CAPTION, "a green ring", "a red ring"], [None, None, KnownPixels(picture, known)]
    model.batch_size, before = 2, model.batch_size
    images = model.images(captions, corrections=corrections, **FAST)
    plain = model.images(captions, **FAST)
    model.batch_size = before
    assert torch.equal(images[:2], plain[:2])
    assert torch.equal(images[2][:, known], picture[:, known])
    assert not torch.equal(images[2][:, ~known], plain[2][:, ~known])
    with pytest.raises(UserError, match="corrections: 1 for 3 pictures; give one for each, or None"):
        model.images(captions, corrections=corrections[:1], **FAST)


LIBRARY = """
import sys
from imagen import TextToImage
from imagen.stages.export import load_stage
import imagen.sampling.text_to_image
model = TextToImage.load({stages})
model.images(["a red circle"], steps=1)
import json
print(json.dumps(sorted(sys.modules)))
"""


def test_the_library_needs_neither_lightning_nor_the_trainer_nor_tensorboard(stages):
    code = LIBRARY.format(stages=", ".join(map(repr, stages)))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"imagen.stages.export", "imagen.sampling.text_to_image"} <= modules
    assert {
        name for name in modules if name.split(".")[0] in {"lightning", "tensorboard", "pytorch_lightning"}
    } == set()
    unwanted = {"imagen.callbacks", "imagen.runs.trainer", "imagen.runs.folder", "imagen.data.module", "imagen.app"}
    assert modules & unwanted == set()


def test_importing_the_package_imports_nothing_of_it_until_it_is_asked():
    code = "import sys, imagen; print(*sys.modules); from imagen import TextToImage; print(TextToImage.__name__)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    before, name = done.stdout.splitlines()
    assert [module for module in before.split() if module.split(".")[0] in {"imagen", "torch", "numpy"}] == ["imagen"]
    assert name == "TextToImage"
    with pytest.raises(AttributeError, match="module 'imagen' has no attribute 'TextToVideo'"):
        _ = imagen.TextToVideo
