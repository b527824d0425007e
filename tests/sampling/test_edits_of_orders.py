"""sample.py with pictures of the user: the same pictures as from Python, and all of it in their metadata."""

import numpy as np
import pytest
from PIL import Image
from png_settings import read_settings
from small_stages import export_readers_of_shapes_t5

from imagen import TextToImage
from imagen.app.sample import sample
from imagen.errors import UserError
from imagen.files import sha256_of_file

CAPTION = "a red circle above a blue square on a white background"
FAST = ["sampler.num_steps=2", "sr_sampler.num_steps=2", "cascade.device=cpu", "count=2", "seed=3"]
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
LEFT = np.zeros((16, 16), np.uint8)
LEFT[:, :8] = 255


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def model(stages):
    return TextToImage.load(*stages, device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(PIXELS).save(folder / "picture.png")
    Image.fromarray(LEFT).save(folder / "mask.png")
    return folder


@pytest.fixture
def run(compose_config, stages, tmp_path):
    """run("strength=0.5"): the folder that sample.py wrote."""

    def sampled(*overrides, prompt=f"prompt={CAPTION}"):
        place = [f"cascade.stages=[{','.join(stages)}]", f"out={tmp_path / 'out'}", prompt]
        sample(compose_config("sample", *FAST, *place, *overrides))
        return tmp_path / "out"

    return sampled


def check_same(folder, pictures):
    for role, made in pictures.items():
        for i, picture in enumerate(made):
            assert np.array_equal(np.asarray(Image.open(folder / role / f"{i:05d}.png")), np.asarray(picture))


@pytest.mark.parametrize(
    ("overrides", "arguments"),
    [
        (["strength=0.6"], {"picture": "picture.png", "strength": 0.6}),
        (["++sampling.sr1.strength=0.3"], {"picture": "picture.png", "strength": {"sr1": 0.3}}),
        (["mask={}/mask.png"], {"picture": "picture.png", "mask": "mask.png"}),
        (["mask={}/mask.png", "resample=2"], {"picture": "picture.png", "mask": "mask.png", "resample": 2}),
        (["start_at=sr1"], {"picture": "picture.png", "start_at": "sr1"}),
        (["start_at=sr1", "tile_overlap=0.5"], {"picture": "picture.png", "start_at": "sr1", "tile_overlap": 0.5}),
        (["size=[12,16]", "picture=null"], {"size": [12, 16]}),
        (["negative_prompt=grey", "picture=null"], {"negative_prompt": "grey"}),
    ],
)
def test_pictures_are_those_of_the_library(run, model, files, overrides, arguments):
    folder = run(f"picture={files}/picture.png", *(one.format(files) for one in overrides))
    given = {key: files / value if key in ("picture", "mask") else value for key, value in arguments.items()}
    made = model([CAPTION], count=2, seed=3, steps=2, all_stages=True, **given)
    check_same(folder, made)
    assert made.keys() == ({"sr1"} if "start_at" in arguments else {"base", "sr1"})


def test_a_picture_says_what_it_was_made_from(run, files):
    folder = run(f"picture={files}/picture.png", f"mask={files}/mask.png", "strength=0.8", "negative_prompt=grey")
    facts = read_settings(folder / "sr1" / "00001.png")
    assert facts["picture_sha256"] == sha256_of_file(files / "picture.png")
    assert facts["mask_sha256"] == sha256_of_file(files / "mask.png")
    assert facts["negative_prompt"] == "grey"
    assert [(stage["strength"], stage.get("resample")) for stage in facts["stages"]] == [(0.8, 4), (0.8, None)]


def test_a_run_that_enlarges_says_where_it_began(run, files):
    facts = read_settings(run(f"picture={files}/picture.png", "start_at=sr1") / "sr1" / "00000.png")
    assert facts["start_at"] == "sr1"
    assert [stage["stage"] for stage in facts["stages"]] == ["sr1"]


def test_a_row_may_have_a_negative_prompt_of_its_own(run, model, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        f'{{"prompt": "{CAPTION}", "negative_prompt": "grey"}}\n{{"prompt": "a ring"}}'
    )
    folder = run("negative_prompt=blue", prompt=f"prompts_file={tmp_path}/rows.jsonl")
    made = model([CAPTION, "a ring"], negative_prompt=["grey", "blue"], count=2, seed=3, steps=2, all_stages=True)
    check_same(folder, made)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strength=0.5"], "strength below 1 needs a picture to begin with"),
        (["picture=[a.png,b.png]"], r"picture=\['a.png', 'b.png'\] must be one file"),
        (["picture=nowhere.png", "strength=0.5"], "picture=nowhere.png: no such file"),
        (["size=48"], r"size=48 must be a height and a width in pixels, such as \[48,64\]"),
        (["resample=1.5"], "^resample=1.5 must be a whole number$"),
        (["++sampling.sr1.resample=x"], "^sampling.sr1.resample='x' must be a whole number$"),
        (["++sampling.sr2.strength=0.5"], "sampling.sr2.strength: no stage 'sr2' here"),
        (["tile_overlap=0.8"], "tile_overlap=0.8 must be above 0 and at most 0.5"),
        (["negative_prompt=grey", "guidance_weights=1"], "negative_prompt has no effect at guidance weight 1"),
        (["start_at=sr1"], "start_at needs a picture"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(run, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        run(*overrides)
    assert not (tmp_path / "out").exists()
