"""Loading a published stage: every number from its files, and every mistake in one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.deepfloyd.tiny import IF_I, save_if_base
from imagen.errors import UserError
from imagen.files import sha256_of_file
from imagen.instantiation import TEXT_SOURCE
from imagen.published.folder import read_weights, weights_of
from imagen.published.stage import load_published
from imagen.published.text import PublishedText
from imagen.sampling.text_to_image import TextToImage
from imagen.text.deepfloyd.encoder import DeepFloydEncoder

pytest.importorskip("diffusers")


@pytest.fixture
def copy(if_base, tmp_path):
    """A copy of the tiny IF-I that a test may damage."""
    return shutil.copytree(if_base, tmp_path / "IF-I")


def loaded(folder, **given):
    return load_published(folder, PublishedText.of({}, [folder]), **given)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_description_says_what_the_files_say(copy):
    for part in ("num_train_timesteps",):
        edit(copy / "scheduler" / "scheduler_config.json", **{part: 500})
    stage = loaded(copy)
    this = stage.description
    assert (this.name, this.resolution, this.low_resolution, this.step) == ("base", 16, None, 0)
    assert this.weights_sha256 == sha256_of_file(copy / "unet" / "diffusion_pytorch_model.safetensors")
    assert this.schedule["steps"] == stage.model.schedule.steps == stage.model.denoiser.network.schedule.steps == 500
    assert this.denoiser["network"]["config"]["block_out_channels"] == IF_I["block_out_channels"]
    assert this.text == DeepFloydEncoder(copy).fingerprint
    assert stage.model.denoiser.learned_variance


def test_an_upscaler_enlarges_what_the_stage_before_it_makes(if_base, if_upscaler):
    text = PublishedText.of({}, [if_base])
    for low, expected in ((None, 16), (32, 32)):
        this = load_published(if_upscaler, text, low_resolution=low).description
        assert (this.name, this.resolution, this.low_resolution) == ("sr1", 64, expected)
    assert this.augmentation == this.conditioner["augmentation"]
    assert this.conditioner["align_corners"] is True


def test_every_weight_arrives_where_diffusers_has_it(if_base):
    network = loaded(if_base).model.denoiser.network
    published = load_file(if_base / "unet" / "diffusion_pytorch_model.safetensors")
    ours = dict(network.unet.named_parameters())
    for kind in ("weight", "bias"):
        both = torch.cat([ours.pop(f"conv_out.{half}.{kind}") for half in ("noise", "variance")])
        assert torch.equal(both, published.pop(f"conv_out.{kind}"))
    assert ours.keys() == published.keys()
    assert all(torch.equal(ours[name], published[name]) for name in ours)


def test_no_text_is_the_empty_prompt_which_t5_is_asked_for_once(if_base, monkeypatch, tmp_path):
    monkeypatch.setenv("IMAGEN_ROOT", str(tmp_path))
    expected = DeepFloydEncoder(if_base).empty_prompt()[0]
    assert torch.equal(loaded(if_base).model.denoiser.network.empty_prompt, expected)
    monkeypatch.setattr(DeepFloydEncoder, "empty_prompt", lambda self: pytest.fail("it is kept"))
    assert torch.equal(loaded(if_base).model.denoiser.network.empty_prompt, expected)


def test_weights_in_float16_and_in_shards_are_read(copy):
    whole = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    save_file({name: tensor.half() for name, tensor in tensors.items()}, whole.with_suffix(".fp16.safetensors"))
    assert {tensor.dtype for tensor in read_weights(weights_of(copy)).values()} == {torch.float32}
    names = sorted(tensors)
    shards = {"first.safetensors": names[::2], "second.safetensors": names[1::2]}
    for file, own in shards.items():
        save_file({name: tensors[name] for name in own}, whole.with_name(file))
    index = {"weight_map": {name: file for file, own in shards.items() for name in own}}
    whole.with_suffix(".safetensors.index.json").write_text(json.dumps(index))
    assert [file.name for file in weights_of(copy)] == list(shards)
    assert torch.equal(read_weights(weights_of(copy))["unet.conv_in.weight"], tensors["conv_in.weight"])
    whole.with_name("second.safetensors").unlink()
    with pytest.raises(UserError, match=r"second.safetensors is missing, and .*index.json names it"):
        weights_of(copy)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid' is not known"),
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "DeepFloyd IF predicts epsilon"),
        ("scheduler/scheduler_config.json", {"variance_type": "fixed_small"}, "DeepFloyd IF's is learned_range"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1]}, "beta_schedule='squaredcos_cap_v2' is not known"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is not known"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}, "num_train_timesteps='many'"),
        (
            "unet/config.json",
            {"_class_name": "UNet2DModel"},
            "the U-Net is a 'UNet2DModel'; UNet2DConditionModel is read",
        ),
        ("unet/config.json", {"sample_size": None}, "sample_size=None is no number"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "a base stage has none"),
        ("unet/config.json", {"addition_embed_type": "image"}, "only text is read"),
        ("unet/config.json", {"out_channels": 3}, "makes 3 channels of 3"),
        ("unet/config.json", {"block_out_channels": [16, 64]}, "tensors do not fit"),
        ("unet/config.json", {"up_block_types": ["OtherBlock2D"] * 2}, "makes no network"),
    ],
)
def test_what_is_no_stage_of_deepfloyd_is_refused(copy, file, changes, message):
    edit(copy / file, **changes)
    with pytest.raises(UserError, match=message) as refused:
        loaded(copy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("unet/diffusion_pytorch_model.safetensors", r"no diffusion_pytorch_model.safetensors; only safetensors"),
        ("scheduler/scheduler_config.json", r"scheduler_config.json is missing: fetch the folder again"),
        ("text_encoder/model.safetensors", r"model.safetensors is missing: only safetensors"),
        ("tokenizer/spiece.model", None),
    ],
)
def test_a_missing_file_is_named(copy, file, message):
    (copy / file).unlink()
    if message is None:
        (copy / "tokenizer" / "tokenizer_config.json").unlink()
        message = "no tokenizer files"
    with pytest.raises(UserError, match=message):
        loaded(copy)


def test_a_damaged_file_is_named(copy):
    (copy / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"diffusion_pytorch_model.safetensors: .*; fetch the folder again"):
        loaded(copy)


def test_another_text_encoder_is_refused(if_base, if_upscaler):
    with pytest.raises(UserError, match="no text_encoder folder, and the stage was trained on one"):
        PublishedText.of({}, [if_upscaler])
    encoder = {"_target_": "imagen.text.encoders.HuggingFaceEncoder", "path": str(if_base / "text_encoder")}
    section = {"_target_": TEXT_SOURCE, "mode": "online", "features": 16, "encoder": encoder}
    with pytest.raises(UserError, match="text names a HuggingFaceEncoder; published stages read text=deepfloyd"):
        load_published(if_base, PublishedText.of(section, [if_base]))


def test_embedded_captions_of_another_length_are_refused(if_base):
    model = TextToImage.load(if_base)
    embedded = model.text.embed(["a red circle"])
    assert model.images(embeddings=embedded, steps=2).shape == (1, 3, 16, 16)
    shorter = type(embedded)(embedded.values[:20], (20,))
    with pytest.raises(UserError, match="row 0 has 20 vectors, the stages read 77, those of the padding too"):
        model.images(embeddings=shorter)


def test_raw_weights_of_a_published_stage_are_refused(if_base):
    with pytest.raises(UserError, match=r"weights=raw: .* was published with one kind of weights"):
        TextToImage.load(if_base, weights="raw")


def test_a_text_encoder_elsewhere_is_named_by_its_folder(if_base, tmp_path):
    other = save_if_base(tmp_path / "other")
    shutil.rmtree(other / "unet")
    stage = TextToImage.load(if_base, text=other).stages[0]
    assert stage.text_source["encoder"]["path"] == str(other)
