"""The layers against their definitions."""

import pytest
import torch
import torch.nn.functional as F
from small_networks import randomise
from torch import Tensor, nn

from imagen.diffusion.conditioning import TextSignal
from imagen.errors import UserError
from imagen.instantiation import instantiate_stage_part
from imagen.networks.attention import (
    AttentionSpec,
    CrossAttentionSpec,
    InTurnSpec,
    LinearAttentionSpec,
    SelfAttentionSpec,
    as_images,
    as_tokens,
    positions,
)
from imagen.networks.blocks import ResidualBlock
from imagen.networks.efficient_unet import strided_conv
from imagen.networks.embedding import LONGEST_PERIOD, SHORTEST_PERIOD, fourier_features
from imagen.networks.layers import ScaleShiftNorm, UpsamplingConv
from imagen.networks.multi_head import attend, attend_linearly
from imagen.networks.text_context import TextContext


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_upsampling_convolution_is_nearest_neighbour_and_convolution(factor: int) -> None:
    torch.manual_seed(0)
    layer = UpsamplingConv(6, 4, factor).double()
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(
        x.repeat_interleave(factor, 2).repeat_interleave(factor, 3), layer.weight, layer.bias, padding=1
    )
    torch.testing.assert_close(layer(x), expected)
    inputs = (x, layer.weight, layer.bias)
    cotangent = torch.randn_like(expected)
    actual_grads, expected_grads = (torch.autograd.grad(y, inputs, cotangent) for y in (layer(x), expected))
    torch.testing.assert_close(actual_grads, expected_grads)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_strided_convolution_divides_the_size_and_sees_every_pixel(stride: int) -> None:
    conv = strided_conv(1, 1, stride)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    out = conv(x)
    assert out.shape[-1] == 8 // stride
    (seen,) = torch.autograd.grad(out.sum(), x)
    assert (seen > 0).all()


@pytest.mark.parametrize(("down", "up"), [(1, 1), (2, 1), (1, 2)])
def test_new_residual_block_is_its_shortcut(down: int, up: int) -> None:
    x = torch.randn(2, 32, 8, 8)
    out = ResidualBlock(32, 32, 16, down, up)(x, torch.randn(2, 16))
    expected = F.avg_pool2d(x, down).repeat_interleave(up, 2).repeat_interleave(up, 3)
    torch.testing.assert_close(out, expected)


def test_scale_shift_norm_is_group_norm_then_affine() -> None:
    norm = ScaleShiftNorm(64, 16)
    x, embedding = torch.randn(3, 64, 4, 4) * 5 + 2, torch.randn(3, 16)
    scale, shift = norm.modulation(embedding).chunk(2, dim=1)
    grouped = x.view(3, 4, 16, 4, 4)
    deviation = grouped.var(dim=(2, 3, 4), keepdim=True, correction=0).add(1e-5).sqrt()
    normal = ((grouped - grouped.mean(dim=(2, 3, 4), keepdim=True)) / deviation).view_as(x)
    expected = normal * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    torch.testing.assert_close(norm(x, embedding), expected, rtol=1e-4, atol=1e-4)


def test_attention_equals_pytorch_s() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 7, 64), torch.randn(2, 9, 64), torch.randn(2, 9, 64)
    visible = torch.rand(2, 1, 1, 9) > 0.4
    visible[..., 0] = True
    bias = torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)

    def heads(x: Tensor) -> Tensor:
        return x.view(2, -1, 4, 16).transpose(1, 2)

    expected = F.scaled_dot_product_attention(heads(query), heads(key), heads(value), attn_mask=visible)
    actual = attend(query, key, value, bias, heads=4)
    torch.testing.assert_close(actual, expected.transpose(1, 2).reshape(2, 7, 64))


def test_linear_attention_is_the_sum_over_all_pairs_of_queries_and_keys() -> None:
    """Shen et al. 2018, eq. 4, in the order that takes a weight for each pair."""
    torch.manual_seed(0)
    shapes = ((2, 7, 64), (2, 9, 64), (2, 9, 64))
    query, key, value = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    visible = torch.rand(2, 9) > 0.4
    bias = torch.zeros(2, 9, dtype=torch.float64).masked_fill(~visible, -torch.inf)[:, None, None, :]
    expected = torch.zeros(2, 7, 64, dtype=torch.float64)
    for picture in range(2):
        for head in (slice(0, 16), slice(16, 32), slice(32, 48), slice(48, 64)):
            keys = key[picture, visible[picture], head].exp()
            weights = query[picture, :, head].softmax(dim=1) @ (keys / keys.sum(dim=0)).T
            torch.testing.assert_close(weights.sum(dim=1), torch.ones(7, dtype=torch.float64))
            expected[picture, :, head] = weights @ value[picture, visible[picture], head]
    actual = attend_linearly(query, key, value, bias, heads=4)
    torch.testing.assert_close(actual, expected)
    grads = (torch.autograd.grad((y * value[:, :7]).sum(), (query, key, value)) for y in (actual, expected))
    torch.testing.assert_close(*grads)


def kept_for_backward(attention: AttentionSpec, side: int) -> int:
    """Bytes of activations that a training step on one image keeps."""
    module = attention.build(32, 8)
    mask = torch.ones(1, 3, dtype=torch.bool)
    text = TextContext.of(TextSignal(torch.randn(1, 3, 8), mask), torch.float32)
    saved: dict[int, int] = {}
    pack = torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.update({t.data_ptr(): t.untyped_storage().nbytes()}) or t, lambda t: t
    )
    with pack:
        out = module(torch.randn(1, 32, side, side, requires_grad=True), text)
    out.square().mean().backward()
    return sum(saved.values())


def test_memory_of_linear_attention_grows_with_the_number_of_pixels() -> None:
    spec = LinearAttentionSpec(16)
    assert kept_for_backward(SelfAttentionSpec(16), 32) > 10 * kept_for_backward(SelfAttentionSpec(16), 16)
    assert kept_for_backward(spec, 256) < 4.2 * kept_for_backward(spec, 128)  # full attention: 34 GB of weights


def test_tokens_of_a_channels_last_image_are_a_view() -> None:
    x = torch.randn(2, 32, 4, 6).to(memory_format=torch.channels_last)
    tokens = as_tokens(x)
    assert tokens.data_ptr() == x.data_ptr()
    assert torch.equal(tokens[1, 6 * 2 + 3], x[1, :, 2, 3])
    assert torch.equal(as_images(tokens, 4, 6), x)


@pytest.mark.parametrize("tokens", [0, 3])
def test_cross_attention_without_text_adds_exactly_nothing(tokens: int) -> None:
    module = CrossAttentionSpec(32).build(64, 8)
    nn.init.normal_(module.to_out.weight)
    nn.init.normal_(module.null_key)
    x = torch.randn(2, 64, 4, 4)
    mask = torch.zeros(2, tokens, dtype=torch.bool)
    assert torch.equal(module(x, TextContext.of(TextSignal(torch.zeros(2, tokens, 8), mask), x.dtype)), x)


@pytest.mark.parametrize("spec", [SelfAttentionSpec(32), LinearAttentionSpec(32)], ids=str)
def test_self_attention_reads_text_and_distant_pixels(spec: AttentionSpec) -> None:
    module = spec.build(64, 8)
    nn.init.normal_(module.to_out.weight)
    x, text = torch.randn(1, 64, 4, 4, requires_grad=True), torch.randn(1, 3, 8, requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    out = module(x, TextContext.of(TextSignal(text, mask), x.dtype))
    to_x, to_text = torch.autograd.grad(out[0, :, 0, 0].sum(), (x, text))
    assert to_x[0, :, 3, 3].abs().max() > 0
    assert (to_text.abs().amax(dim=2) > 0).tolist() == mask.tolist()


def some_text() -> TextContext:
    return TextContext.of(TextSignal(torch.randn(2, 3, 8), torch.ones(2, 3) > 0), torch.float32)


@pytest.mark.parametrize("spec", [SelfAttentionSpec, LinearAttentionSpec])
def test_self_attention_without_text_reads_pixels_alone(spec: type[SelfAttentionSpec]) -> None:
    torch.manual_seed(0)
    module, x = randomise(spec(32, text=False).build(64, 8)), torch.randn(2, 64, 4, 4)
    out = module(x, some_text())
    assert (out - x).abs().max() > 0.01
    assert torch.equal(module(x, some_text()), out)  # another text
    reading = randomise(spec(32).build(64, 8))
    assert not torch.equal(reading(x, some_text()), reading(x, some_text()))
    reading.load_state_dict(module.state_dict(), strict=False)
    torch.testing.assert_close(reading(x, TextContext.of(TextSignal.none(2, 8), x.dtype)), out)


def test_attentions_in_turn_are_one_after_the_other() -> None:
    torch.manual_seed(0)
    module = randomise(InTurnSpec([SelfAttentionSpec(32), CrossAttentionSpec(32)]).build(64, 8))
    x, text = torch.randn(2, 64, 4, 4), some_text()
    first, second = SelfAttentionSpec(32).build(64, 8), CrossAttentionSpec(32).build(64, 8)
    first.load_state_dict(module.parts[0].state_dict())
    second.load_state_dict(module.parts[1].state_dict())
    assert torch.equal(module(x, text), second(first(x, text), text))


def test_no_attention_in_turn_is_refused() -> None:
    with pytest.raises(UserError, match="at least one"):
        InTurnSpec([])


def test_the_attention_of_a_level_is_built_from_the_configuration_of_an_export() -> None:
    names = "imagen.networks.attention"
    parts = [{"_target_": f"{names}.SelfAttentionSpec", "text": False}, {"_target_": f"{names}.CrossAttentionSpec"}]
    spec = instantiate_stage_part({"_target_": f"{names}.InTurnSpec", "parts": parts})
    assert spec == InTurnSpec([SelfAttentionSpec(text=False), CrossAttentionSpec()])


def test_noise_levels_look_different_and_near_ones_similar() -> None:
    log_snr = torch.linspace(-20, 20, 801)
    features = fourier_features(log_snr)
    distance = torch.cdist(features, features)
    far = (log_snr[:, None] - log_snr).abs() >= 0.5
    assert distance[far].min() > 1
    assert distance.diagonal(1).max() < distance[far].min()
    assert LONGEST_PERIOD > 40 > SHORTEST_PERIOD


@pytest.mark.parametrize("spec", [SelfAttentionSpec, LinearAttentionSpec])
@pytest.mark.parametrize("know_positions", [False, True])
def test_only_attention_with_positions_tells_places_apart(spec: type[SelfAttentionSpec], know_positions: bool) -> None:
    torch.manual_seed(0)
    layer = randomise(spec(head_channels=32, positions=know_positions).build(32, 24))
    x, caption = torch.randn(2, 32, 4, 6), TextSignal(torch.randn(2, 3, 24), torch.ones(2, 3) > 0)
    text = TextContext.of(caption, torch.float32)
    mirrored = layer(x.flip(3), text).flip(3)  # pixels change places, and back
    assert torch.allclose(mirrored, layer(x, text), atol=1e-5) != know_positions


def test_positions_are_the_pictures_and_not_the_pixels() -> None:
    small, large = (positions(side, side, torch.device("cpu")).unflatten(0, (side, side)) for side in (3, 9))
    torch.testing.assert_close(
        large[1::3, 1::3], small
    )  # the middle pixel of each nine stands where the large one does
    assert len(small.flatten(0, 1).unique(dim=0)) == 9
