"""What sample.py samples from: prompts, embedded captions, or nothing; and settings by role on the way to the files."""

import numpy as np
import pytest
import torch
from PIL import Image
from png_settings import read_settings
from small_stages import export_random_stage, export_readers_of_shapes_t5

from imagen.app.sample import sample
from imagen.commandline.roles import of_one_role
from imagen.errors import UserError
from imagen.files import sha256_of_file
from imagen.sampling.text_to_image import TextToImage
from imagen.text.embedding_file import write_embeddings
from imagen.text.embeddings import TextEmbeddings

FAST = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "cascade.device=cpu"]
CAPTIONS = ["a red circle above a blue square on a white background", "a green ring on a black background"]
NONE = {"model": "none", "features": 8}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unconditional")
    export_random_stage(folder / "base", "base", 8, None, text=NONE)
    export_random_stage(folder / "sr1", "sr1", 16, 8, text=NONE)
    return [str(folder / "base"), str(folder / "sr1")]


@pytest.fixture
def run(compose_config, tmp_path):
    """run(stages, "prompt=...", out="a"): the folder that sample.py wrote."""

    def sampled(stages, *overrides, out="out"):
        place = [f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path / out}"]
        sample(compose_config("sample", *FAST, *place, *map(of_one_role, overrides)))
        return tmp_path / out

    return sampled


def pixels(folder, role):
    return [np.asarray(Image.open(path)) for path in sorted((folder / role).glob("*.png"))]


def test_stages_without_text_are_sampled_without_a_prompt(run, unconditional):
    out = run(unconditional, "count=3")
    assert len({picture.tobytes() for picture in pixels(out, "sr1")}) == 3
    assert read_settings(out / "sr1" / "00002.png")["prompt"] is None
    assert len(pixels(run(unconditional, out="four"), "base")) == 4


@pytest.mark.parametrize("given", ["prompt=a ring", "embeddings={file}"])
def test_stages_without_text_take_neither_prompt_nor_embeddings(run, unconditional, tmp_path, given):
    write_embeddings(TextEmbeddings(torch.zeros(1, 8), (1,)), tmp_path / "rows.safetensors")
    with pytest.raises(UserError, match=r"^these stages were trained without text .* as count=16$"):
        run(unconditional, given.format(file=tmp_path / "rows.safetensors"))
    assert not (tmp_path / "out").exists()


def test_embeddings_make_the_pictures_of_their_captions_and_no_encoder_is_asked(run, stages, tmp_path, monkeypatch):
    whole = run(stages, f"prompt=[{','.join(CAPTIONS)}]", "count=1", out="prompts")
    file = tmp_path / "rows.safetensors"
    write_embeddings(TextToImage.load(*stages, device="cpu").text.embed(CAPTIONS), file)
    monkeypatch.setattr("imagen.sampling.opening.open_text", lambda *arguments: pytest.fail("not needed"))
    out = run(stages, f"embeddings={file}")
    for role in ("base", "sr1"):
        assert all(map(np.array_equal, pixels(out, role), pixels(whole, role)))
        assert len(pixels(out, role)) == 2
    settings = read_settings(out / "sr1" / "00001.png")
    assert (settings["embeddings_sha256"], settings["row"]) == (sha256_of_file(file), 1)
    assert len(pixels(run(stages, f"embeddings={file}", "count=3", out="six"), "base")) == 6


@pytest.mark.parametrize(
    ("embeddings", "reason"),
    [
        (
            TextEmbeddings(torch.zeros(2, 8), (2,)),
            r"rows\.safetensors: vectors of 8 features, the stages read 256; embed",
        ),
        (TextEmbeddings(torch.full((2, 256), torch.inf), (1, 1)), r"rows\.safetensors: row 0 holds NaN or infinity"),
        (TextEmbeddings(torch.zeros(0, 256), ()), r"rows\.safetensors: there are no rows"),
    ],
)
def test_embeddings_that_the_stages_cannot_read_are_refused_in_one_line(run, stages, tmp_path, embeddings, reason):
    write_embeddings(embeddings, tmp_path / "rows.safetensors")
    with pytest.raises(UserError, match=rf"^embeddings file .*{reason}") as caught:
        run(stages, f"embeddings={tmp_path / 'rows.safetensors'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([], 'give either prompt="...", prompts_file=FILE or embeddings=FILE'),
        (["prompt=a", "embeddings=b"], "prompt= and embeddings=: give one of them"),
        (["prompts_file=a", "embeddings=b"], "prompts_file= and embeddings=: give one of them"),
        (["embeddings=/nowhere"], "embeddings file /nowhere cannot be read: No such file or directory"),
    ],
)
def test_exactly_one_thing_is_sampled_from(run, stages, overrides, line):
    with pytest.raises(UserError) as caught:
        run(stages, *overrides)
    assert str(caught.value).startswith(line)


def test_settings_of_one_role_change_its_pictures_and_are_in_their_files(run, stages):
    prompt = [f"prompt={CAPTIONS[0]}", "count=1"]
    plain = run(stages, *prompt, out="plain")
    other = run(stages, *prompt, "sampling.sr1.sampler=ddpm", "sampling.sr1.sampler.num_steps=3", out="other")
    assert np.array_equal(*(pixels(out, "base")[0] for out in (plain, other)))
    assert not np.array_equal(*(pixels(out, "sr1")[0] for out in (plain, other)))
    base, sr1 = read_settings(other / "sr1" / "00000.png")["stages"]
    assert base["sampler"]["_target_"] == "imagen.diffusion.samplers.DPMSolverPP2M"
    assert (sr1["sampler"]["_target_"], sr1["sampler"]["num_steps"]) == ("imagen.diffusion.samplers.DDPMSampler", 3)
