"""Pictures of the user: changed, drawn anew in part, enlarged, in other sizes; through the library's front door."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_stages import export_picture_reader, export_readers_of_shapes_t5

from imagen import TextToImage
from imagen.data.pixels import from_uint8, to_uint8
from imagen.diffusion.conditioning import resize
from imagen.errors import UserError
from imagen.inputs.pictures import read_mask, read_picture

CAPTION = "a red circle above a blue square on a white background"
FAST = {"steps": 2, "seed": 3}
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
LEFT = np.zeros((16, 16), np.uint8)
LEFT[:, :8] = 255


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return TextToImage.load(*export_readers_of_shapes_t5(tmp_path_factory.mktemp("stages")), device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture of the size of the last stage, and a mask whose left half is white."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(PIXELS).save(folder / "picture.png")
    Image.fromarray(LEFT).save(folder / "mask.png")
    return {"picture": folder / "picture.png", "mask": folder / "mask.png"}


def test_what_is_black_in_the_mask_keeps_every_grey_level(model, files):
    made = model([CAPTION, "a green ring"], count=2, **files, **FAST)
    for picture in made:
        assert np.array_equal(np.asarray(picture)[:, 8:], PIXELS[:, 8:])
        assert not np.array_equal(np.asarray(picture)[:, :8], PIXELS[:, :8])
    assert made[0].tobytes() != made[1].tobytes()


def test_a_picture_may_be_a_file_an_image_or_a_tensor_and_one_for_each_prompt(model, files):
    (expected,) = model([CAPTION], **files, **FAST)
    image, mask = Image.open(files["picture"]), torch.from_numpy(LEFT > 0)
    assert model([CAPTION], picture=image, mask=mask, **FAST)[0].tobytes() == expected.tobytes()
    tensor = from_uint8(PIXELS[None])[0]
    assert model([CAPTION], picture=tensor, mask=Image.open(files["mask"]), **FAST)[0].tobytes() == expected.tobytes()
    both = model([CAPTION, CAPTION], picture=[tensor, -tensor], mask=mask, **FAST)
    assert both[0].tobytes() == expected.tobytes()
    assert np.array_equal(np.asarray(both[1])[:, 8:], to_uint8(-tensor[None])[0, :, 8:])


def test_a_larger_picture_is_reduced_by_the_resize_of_the_project(model):
    large = torch.rand(3, 32, 32) * 2 - 1
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[:4] = True
    made = model.images([CAPTION], picture=large, mask=mask, **FAST)
    assert torch.equal(made[0, :, 3:], resize(large[None], 16)[0, :, 3:])


def test_resampling_changes_what_is_drawn_and_nothing_that_is_kept(model, files):
    once, twice = (model.images([CAPTION], **files, resample=times, **FAST) for times in (1, 2))
    assert not torch.allclose(once[..., :8], twice[..., :8], atol=0.01)
    assert torch.equal(once[..., 8:], twice[..., 8:])
    default, stated = (model.images([CAPTION], **files, **how, **FAST) for how in ({}, {"resample": {"base": 4}}))
    assert torch.equal(default, stated)


def test_strength_0_gives_the_picture_back_and_1_is_the_caption_alone(model, files):
    picture = files["picture"]
    assert np.array_equal(np.asarray(model([CAPTION], picture=picture, strength=0, **FAST)[0]), PIXELS)
    (alone,) = model([CAPTION], **FAST)
    assert model([CAPTION], picture=picture, strength=1, **FAST)[0].tobytes() == alone.tobytes()


def test_enlarging_ones_own_picture_is_what_the_cascade_does_with_that_of_its_base_stage(model):
    both = model.images([CAPTION], all_stages=True, **FAST)
    enlarged = model.images([CAPTION], picture=both["base"][0].clamp(-1, 1), start_at="sr1", all_stages=True, **FAST)
    assert enlarged.keys() == {"sr1"}
    torch.testing.assert_close(enlarged["sr1"], both["sr1"])


def test_a_large_picture_is_enlarged_as_large_as_it_is_in_tiles(model):
    wide = torch.rand(3, 12, 20) * 2 - 1
    made = model.images([CAPTION], picture=wide, start_at="sr1", tile_overlap=0.25, **FAST)
    assert made.shape == (1, 3, 24, 40)


def test_pictures_of_another_shape(model):
    made = model.images([CAPTION], size=[12, 16], all_stages=True, **FAST)
    assert [tuple(images.shape) for images in made.values()] == [(1, 3, 6, 8), (1, 3, 12, 16)]
    assert torch.equal(model.images([CAPTION], size=[16, 16], **FAST), model.images([CAPTION], **FAST))


def test_a_negative_prompt_steers_the_pictures_that_it_is_given_for(model, caplog):
    prompts, how = [CAPTION, CAPTION], {"guidance_weight": 4, **FAST}
    plain, away = (
        model.images(prompts, **how),
        model.images(prompts, negative_prompt=["a white background", None], **how),
    )
    assert not torch.allclose(plain[0], away[0], atol=0.01)
    torch.testing.assert_close(plain[1], away[1], atol=1e-5, rtol=1e-4)
    assert "empty" not in caplog.text  # a caption that nobody gave
    both = model.images(prompts, negative_prompt="a white background", **how)
    torch.testing.assert_close(both[0], away[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(both[1], plain[1], atol=0.01)


def test_a_negative_prompt_may_be_longer_than_the_prompt(model):
    longer = "a red circle and a green ring and a yellow square and a blue triangle on a grey background"
    assert model.images(["a ring"], negative_prompt=longer, **FAST).isfinite().all()


def test_a_picture_to_condition_on_is_read_by_stages_that_were_trained_with_one(tmp_path):
    export_picture_reader(tmp_path, text={"model": "none", "features": 8})
    reader, picture = TextToImage.load(tmp_path, device="cpu"), torch.rand(3, 16, 16) * 2 - 1
    plain, told = reader.images(count=2, **FAST), reader.images(count=2, condition=picture, **FAST)
    assert not torch.allclose(plain, told, atol=0.01)
    again = reader.images(count=1, condition=resize(picture[None], 8)[0], **FAST)
    torch.testing.assert_close(again[0], told[0], atol=1e-5, rtol=1e-4)


PICTURE, MASK = torch.zeros(3, 16, 16), torch.ones(16, 16, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": MASK}, "mask needs a picture: give picture=FILE as well"),
        ({"start_at": "sr1"}, "start_at needs a picture: give picture=FILE as well"),
        ({"strength": 0.5}, "strength below 1 needs a picture to begin with: give picture=FILE as well"),
        ({"picture": PICTURE}, "picture is given and would not be used: give mask=FILE"),
        ({"picture": PICTURE, "strength": 1.5}, r"strength=1.5 must be in \[0, 1\]"),
        ({"picture": PICTURE, "strength": "half"}, "strength='half' must be a finite number"),
        ({"picture": PICTURE, "mask": MASK[:8]}, "picture is 16 × 16 and mask 8 × 16: both must be of one size"),
        ({"picture": PICTURE, "mask": MASK.float()}, r"mask is of torch.float32 and shape \(16, 16\); give"),
        ({"picture": PICTURE, "mask": ~MASK}, "mask is black everywhere: nothing would be drawn anew"),
        ({"picture": PICTURE[:, :8, :8], "mask": MASK[:8, :8]}, "picture is 8 × 8, smaller than the 16 × 16 that is"),
        ({"picture": PICTURE[:, :8], "mask": MASK[:8]}, "picture is 8 × 16 and 16 × 16 is made here"),
        ({"picture": 3 * torch.ones(3, 16, 16), "mask": MASK}, r"picture has values outside of \[-1, 1\], or NaN"),
        ({"picture": PICTURE[0], "mask": MASK}, r"picture is of torch.float32 and shape \(16, 16\); give \(3, height"),
        ({"picture": 7, "mask": MASK}, "picture=7 must be a file, a PIL image or a tensor"),
        ({"picture": "nowhere.png", "mask": MASK}, "picture=nowhere.png: no such file"),
        ({"picture": [PICTURE] * 2, "mask": MASK}, "picture: 2 are given for 3 pictures; give one, or one for each"),
        ({"picture": PICTURE, "start_at": "base"}, "start_at=base: no stage of this name enlarges a picture; choose"),
        ({"picture": PICTURE[:, :4, :4], "start_at": "sr1"}, "picture is 4 × 4, smaller than the 8 × 8 that is made"),
        ({"condition": PICTURE}, "condition is given, and stages base, sr1 read none: leave it out, or train one"),
        ({"size": [10, 15]}, r"size=\[10,15\]: stage base would make 5 × 7.5; sides must be multiples of 2"),
        ({"size": [16]}, r"size=\[16\] must be a height and a width in pixels, such as \[48,64\]"),
        ({"size": [6, 8]}, "images of 3 x 4: each side must be a multiple of 2"),
        ({"tile_overlap": 0.9}, "tile_overlap=0.9 must be above 0 and at most 0.5"),
        ({"resample": 0}, "resample=0 must be a whole number of at least 1"),
        ({"negative_prompt": "grey", "guidance_weight": 1}, "negative_prompt has no effect at guidance weight 1"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt: 2 are given for 3 pictures; give one, or one for each"),
        ({"negative_prompt": "a\x00b"}, "negative prompt 1"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(model, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        model.images([CAPTION] * 3, **(FAST | arguments))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"^picture=.*note\.png: not a picture in any of"):
        read_picture(tmp_path / "note.png")


def test_in_a_mask_grey_counts_as_white_from_the_middle_on(tmp_path):
    grey = np.linspace(0, 255, 16).astype(np.uint8)[None].repeat(16, axis=0)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png")[0], torch.arange(16) >= 8)


def test_every_estimate_can_be_watched_and_what_the_watch_raises_ends_the_call(model):
    seen = []
    made = model.images([CAPTION], watch=lambda stage, estimate: seen.append((stage, estimate.x0)), **FAST)
    assert [stage for stage, _ in seen] == ["base", "base", "sr1", "sr1"]
    assert torch.equal(seen[-1][1], made)

    def stop(stage, estimate):
        seen.append(stage)
        raise KeyboardInterrupt

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        model.images([CAPTION], watch=stop, **FAST)
    assert seen == ["base"]
