"""FD-DINOv2's features against torch-fidelity's extractor, with the same random weights in DINOv2's own layout.

torch-fidelity gets its network by torch.hub. Here the hub is replaced by `Original`: the vision transformer under the
names of the published weights files (facebookresearch/dinov2: models/vision_transformer.py, layers/), written anew.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from imagen.evaluation.judges.dinov2 import Dinov2, preprocess
from imagen.evaluation.statistics.frechet import Gaussian, frechet_distance

WIDTH, HEADS, DEPTH = 24, 2, 2


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return x * self.gamma


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)})
        self.ls1, self.ls2 = Scale(), Scale()

    def forward(self, x):
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        weights = ((q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.ls1(self.attn["proj"]((weights @ v).transpose(1, 2).flatten(2)))
        return x + self.ls2(self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x)))))


class Original(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token, self.mask_token = nn.Parameter(torch.zeros(1, 1, WIDTH)), nn.Parameter(torch.zeros(1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 37 * 37 + 1, WIDTH))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, WIDTH, 14, 14)})
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, images):
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        grid = self.pos_embed[:, 1:].reshape(1, 37, 37, WIDTH).permute(0, 3, 1, 2)
        scale = (images.shape[-1] // 14 + 0.1) / 37
        grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        x = x + torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def in_original_layout(state):
    """The weights of a Dinov2Model's file under the names of DINOv2's own code, where q, k and v are one matrix."""
    names = {
        "embeddings.cls_token": "cls_token", "embeddings.mask_token": "mask_token",
        "embeddings.position_embeddings": "pos_embed", "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "encoder.layer.": "blocks.", "attention.output.dense": "attn.proj", "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma", "layernorm.": "norm.",
    }  # fmt: skip
    found = {}
    for name, value in state.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        found[name] = value
    for block in range(DEPTH):
        for kind in ("weight", "bias"):
            parts = [found.pop(f"blocks.{block}.attention.attention.{one}.{kind}") for one in ("query", "key", "value")]
            found[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our extractor and torch-fidelity's, with equal weights."""
    from safetensors.torch import load_file
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    config = Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=518, patch_size=14
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dinov2Model(config)
        for name, weight in model.named_parameters():  # so that every one matters
            nn.init.normal_(weight, mean=float("norm" in name or "lambda" in name), std=0.3)
    model.save_pretrained(folder)
    original = Original()
    original.load_state_dict(in_original_layout(load_file(folder / "model.safetensors")))

    def load(repository, name):
        assert (repository, name) == ("facebookresearch/dinov2", "dinov2_vitl14")
        return original

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XFORMERS_DISABLED", "1")  # which it sets itself, and never takes back
        patch.setattr(torch.hub, "load", load)
        theirs = FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
    return Dinov2(folder, device="cpu"), theirs


def features_of(theirs, pixels):
    with torch.inference_mode():
        return theirs(pixels.movedim(-1, 1).contiguous())[0]


def drawn(count, side, seed):
    """Smooth random pictures: noise of 8 x 8 pixels, enlarged."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 255
    large = functional.interpolate(small, side, mode="bicubic").clamp(0, 255)
    return large.round().to(torch.uint8).movedim(1, -1).contiguous()


def test_features_of_the_same_224_pixels_are_equal(both):
    ours, theirs = both
    pixels = torch.cat([drawn(3, 224, 1), torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)])
    found, expected = ours.image_features(pixels), features_of(theirs, pixels)
    assert found.std() > 0.1
    assert found.std(dim=0).min() > 1e-2
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("side", [64, 256])
def test_the_networks_agree_on_our_preprocessing_and_the_resizes_do_not(both, side):
    ours, theirs = both
    pixels = drawn(6, side, 2)
    found = ours.image_features(pixels)
    with torch.inference_mode():
        same = theirs.model(preprocess(pixels))
    torch.testing.assert_close(found, same, atol=2e-5, rtol=0)
    assert (features_of(theirs, pixels) - found).abs().max() > 1e-3  # TensorFlow's bilinear is not Pillow's bicubic


def test_distances_agree_as_the_features_do(both):
    ours, theirs = both
    sets = [drawn(40, 224, 3), torch.maximum(drawn(40, 224, 4), drawn(40, 224, 5))]
    one, other = (
        frechet_distance(*(Gaussian.fit(look(pixels)) for pixels in sets))
        for look in (ours.image_features, lambda pixels: features_of(theirs, pixels))
    )
    assert one > 1e-2
    assert one == pytest.approx(other, rel=1e-4)
