"""FD-DINOv2's features of a small random model, against the computations of dgm-eval and DINOv2's own code."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from imagen.errors import UserError
from imagen.evaluation.judges.dinov2 import Dinov2, original_positions, preprocess
from imagen.files import fingerprint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Dinov2Model trained, so to speak, at 518 pixels, as the published ones are."""
    from transformers import Dinov2Config, Dinov2Model

    path = tmp_path_factory.mktemp("dinov2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14)
        model = Dinov2Model(config)
        # As large as the patches' embeddings, so that they matter.
        nn.init.normal_(model.embeddings.position_embeddings)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def dinov2(folder):
    return Dinov2(folder, device="cpu", batch_size=2)


def transformed_by_dgm_eval(picture):
    """Its transform, on one PIL picture (dgm-eval, representations/encoders/dinov2.py, without --clean_resize)."""
    from torchvision import transforms

    steps = [
        transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
        transforms.ToTensor(),
        transforms.Normalize(np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])),
    ]
    return transforms.Compose(steps)(Image.fromarray(picture.numpy())).float()


@pytest.mark.parametrize("side", [48, 224, 300])
def test_preprocessing_is_dgm_evals(side):
    pixels = torch.randint(0, 256, (2, side, side + 6, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    expected = torch.stack([transformed_by_dgm_eval(picture) for picture in pixels])
    torch.testing.assert_close(preprocess(pixels), expected, atol=1e-6, rtol=0)


def test_positions_are_interpolated_as_in_the_original_code():
    """facebookresearch/dinov2, models/vision_transformer.py, interpolate_pos_encoding with its offset of 0.1."""
    positions = torch.randn(1, 37 * 37 + 1, 8, generator=torch.Generator().manual_seed(0))
    scale = (16 + 0.1) / math.sqrt(37 * 37)
    grid = positions[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    expected = torch.cat((positions[:, :1], grid.permute(0, 2, 3, 1).view(1, -1, 8)), dim=1)
    found = original_positions(positions, 16)
    torch.testing.assert_close(found, expected)
    by_size = nn.functional.interpolate(positions[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2), 16, mode="bicubic")
    assert (found[:, 1:] - by_size.permute(0, 2, 3, 1).reshape(1, -1, 8)).abs().max() > 0.01
    assert original_positions(found, 16) is found


def test_features_are_the_class_tokens_and_do_not_depend_on_the_batch(dinov2, random_pixels):
    found = dinov2.image_features(random_pixels[:3])
    assert found.shape == (3, 24)
    output = dinov2.model(pixel_values=preprocess(random_pixels[:3])).last_hidden_state
    torch.testing.assert_close(found, output[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(dinov2.image_features(random_pixels[1:2]), found[1:2], atol=1e-5, rtol=1e-4)
    assert found.std(dim=0).min() > 2e-5


def test_other_weights_are_not_called_fd_dinov2(dinov2):
    assert dinov2.fidelity_key == f"fd[dinov2:{fingerprint(dinov2.identity['files'])[:8]}]"


def test_what_is_no_complete_dinov2_is_refused(folder, clip, tmp_path):
    with pytest.raises(UserError, match=r"absent does not exist: fetch it once with .*fetch dinov2-large"):
        Dinov2(tmp_path / "absent")
    with pytest.raises(UserError, match="only safetensors weights"):
        Dinov2(tmp_path)
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = load_file(folder / "model.safetensors")
    dropped = sorted(weights)[-1]
    save_file({name: weight for name, weight in weights.items() if name != dropped}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="1 weights are missing"):
        Dinov2(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="Dinov2Model does not load"):
        Dinov2(tmp_path)
