"""Both U-Nets: the inputs on which they must and must not depend."""

from collections.abc import Callable
from functools import partial

import jaxtyping
import pytest
import torch
from small_networks import TEXT_FEATURES, make_base, make_efficient, make_inputs, randomise
from torch import nn

from imagen.diffusion.conditioning import Conditioning, ImageSignal, LowResImage, TextSignal, resize
from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
from imagen.networks.attention import SelfAttentionSpec
from imagen.networks.embedding import TextPooling
from imagen.networks.levels import LevelSpec
from imagen.networks.text_context import TextContext
from imagen.networks.unet import UNet

MakeNetwork = Callable[..., nn.Module]


def assert_same(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> None:
    """Equal but for the order in which float32 sums were taken."""
    assert actual.shape == expected.shape
    assert (actual - expected).norm() <= tolerance * expected.norm()


def test_output_has_the_shape_of_z_and_starts_at_zero(make_network: MakeNetwork) -> None:
    network = make_network()
    z, log_snr, conditioning = make_inputs(network)
    out = network(z, log_snr, conditioning)
    assert out.shape == z.shape
    assert torch.equal(out, torch.zeros_like(z))


def test_non_square_images_pass(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network)
    z = z[..., :8, :]
    if "low_res" in conditioning:
        low_res = conditioning["low_res"]
        conditioning = Conditioning(conditioning, low_res=LowResImage(low_res.image[..., :8, :], low_res.level))
    for name, signal in conditioning.items():
        if isinstance(signal, ImageSignal):
            conditioning = Conditioning(conditioning, **{name: ImageSignal(signal.images[..., :8, :])})
    assert network(z, log_snr, conditioning).shape == (3, 3, 8, 16)


def test_longer_padding_changes_nothing(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, short = make_inputs(network, tokens=5)
    _, _, long = make_inputs(network, tokens=13)
    text = long["text"]
    garbage = TextSignal(torch.where(text.mask[..., None], text.values, 7.0), text.mask)
    expected = network(z, log_snr, short)
    assert_same(network(z, log_snr, long), expected)
    assert_same(network(z, log_snr, Conditioning(long, text=garbage)), expected)


def test_every_token_is_read_and_its_place_is_the_encoder_s_business(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network)
    before = network(z, log_snr, conditioning)
    for token in range(5):
        values = conditioning["text"].values.clone()
        values[0, token] = -values[0, token]
        text = TextSignal(values, conditioning["text"].mask)
        after = network(z, log_snr, Conditioning(conditioning, text=text))
        assert (after[0] - before[0]).abs().max() > 1e-4
        assert_same(after[1:], before[1:])


def test_dropped_text_equals_no_tokens_at_all(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network)
    text = conditioning["text"]
    empty = Conditioning(conditioning, text=TextSignal.none(len(text), text.values.shape[-1]))
    dropped = network(z, log_snr, conditioning.without("text"))
    assert dropped.isfinite().all()
    assert (dropped - network(z, log_snr, conditioning)).abs().max() > 1e-4
    assert_same(network(z, log_snr, empty), dropped)


@pytest.mark.parametrize("tokens", [0, 6])
def test_gradients_without_text_are_finite(make_network: MakeNetwork, tokens: int) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network, lengths=(0, min(3, tokens)), tokens=tokens)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(z, log_snr, conditioning)
    out.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_every_parameter_is_trained(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    network(*make_inputs(network)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_images_of_a_batch_do_not_see_each_other(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network)
    together = network(z, log_snr, conditioning)
    alone = network(z[:1], log_snr[:1], conditioning.take(slice(1)))
    assert_same(alone, together[:1], tolerance=1e-5)


def test_noise_level_and_low_resolution_image_are_read(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network)
    before = network(z, log_snr, conditioning)
    assert (network(z, log_snr + 3, conditioning) - before).abs().max() > 1e-4
    if "low_res" not in conditioning:
        return
    image, level = conditioning["low_res"].image, conditioning["low_res"].level
    for changed in (LowResImage(-image, level), LowResImage(image, NoiseLevel(level.log_snr + 3))):
        assert (network(z, log_snr, Conditioning(conditioning, low_res=changed)) - before).abs().max() > 1e-4


def test_each_picture_is_read_and_a_dropped_one_is_grey(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    z, log_snr, conditioning = make_inputs(network)
    before = network(z, log_snr, conditioning)
    after = []
    for name in (*network.concatenated, *network.pooled):
        first = torch.arange(len(z)) == 0
        after.append(network(z, log_snr, conditioning.drop(name, first)))
        assert (after[-1][0] - before[0]).abs().max() > 1e-4
        assert_same(after[-1][1:], before[1:])
        grey = Conditioning(conditioning, **{name: ImageSignal(torch.zeros_like(z))})
        assert_same(network(z, log_snr, grey)[:1], after[-1][:1])
    if len(after) == 2:
        assert (after[0] - after[1]).abs().max() > 1e-4  # not the one in the place of the other


@pytest.mark.parametrize("side", [8, 40])
def test_a_concatenated_picture_of_another_size_is_resized(side: int) -> None:
    network = randomise(make_base(concatenated=["condition"]))
    z, log_snr, conditioning = make_inputs(network)
    images = torch.randn(len(z), 3, side, side)
    given, resized = ({"condition": ImageSignal(pictures)} for pictures in (images, resize(images, z.shape[-1])))
    expected = network(z, log_snr, Conditioning(conditioning, **resized))
    assert torch.equal(network(z, log_snr, Conditioning(conditioning, **given)), expected)


def test_checkpointing_changes_memory_and_not_gradients(make_network: MakeNetwork) -> None:
    plain, saving = randomise(make_network()), randomise(make_network(checkpointing=True))
    kept: dict[nn.Module, int] = {}
    for network in (plain, saving):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.nbytes) or t, lambda t: t):
            out = network(*make_inputs(network))
        kept[network] = sum(saved)
        out.square().mean().backward()
    assert kept[saving] < 0.5 * kept[plain]
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_bfloat16_stays_close_to_float32_and_in_channels_last(make_network: MakeNetwork) -> None:
    network = randomise(make_network())
    inputs = make_inputs(network)
    expected = network(*inputs)
    wrong: list[str] = []

    def check(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            x = args[0]
            if x.dtype != torch.bfloat16 or not x.is_contiguous(memory_format=torch.channels_last):
                wrong.append(f"{name}: {x.dtype}, strides {x.stride()}")

        return hook

    convolutions = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and not n.endswith("stem")}
    for name, module in convolutions.items():
        module.register_forward_pre_hook(check(name))
    with torch.autocast("cpu", torch.bfloat16):
        out = network(*inputs)
    assert wrong == []
    assert (out.float() - expected).norm() < 0.05 * expected.norm()


def test_compile_in_place_keeps_the_result_and_the_names_of_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # its frames can only be traced in part
    network = randomise(UNet([LevelSpec(32, 1, SelfAttentionSpec(32), stride=1)], TEXT_FEATURES, embedding_features=32))
    inputs, names, graphs = make_inputs(network), list(network.state_dict()), []
    expected = network(*inputs)
    network.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)  # generating code takes minutes
    assert torch.equal(network(*inputs), expected)
    assert graphs
    assert list(network.state_dict()) == names


def test_pooled_text_is_exactly_zero_without_text() -> None:
    pooling = randomise(TextPooling(TEXT_FEATURES, 64))
    text, mask = torch.randn(2, 4, TEXT_FEATURES), torch.tensor([[True] * 4, [False] * 4])
    pooled = pooling(TextContext.of(TextSignal(text, mask), torch.float32))
    assert pooled[0].abs().min() > 0
    assert torch.equal(pooled[1], torch.zeros(64))


def test_wrong_images_are_refused() -> None:
    base, sr = make_base(), make_base(low_res=True)
    z, log_snr, conditioning = make_inputs(sr)
    with pytest.raises(UserError, match="takes no low-resolution image"):
        base(z, log_snr, conditioning)
    with pytest.raises(UserError, match="needs a low-resolution image"):
        sr(z, log_snr, Conditioning(text=conditioning["text"]))
    with pytest.raises(UserError, match="multiple of 4"):
        base(z[..., :14], log_snr, Conditioning(text=conditioning["text"]))


def test_wrong_concatenated_pictures_are_refused() -> None:
    base, reader = make_base(), make_base(concatenated=["condition"])
    z, log_snr, conditioning = make_inputs(reader)
    with pytest.raises(UserError, match=r"reads no image signal .* was given the image signals condition"):
        base(z, log_snr, conditioning)
    with pytest.raises(UserError, match=r"reads the image signals condition .* was given no image signal"):
        reader(z, log_snr, Conditioning(text=conditioning["text"]))


@pytest.mark.parametrize("names", ["condition", ["condition", "condition"], ["low_res"], ["text", "condition"]])
@pytest.mark.parametrize("make", [make_base, partial(make_efficient, SelfAttentionSpec(32))])
def test_impossible_names_of_pictures_are_refused(make: MakeNetwork, names: str | list[str]) -> None:
    with pytest.raises(UserError, match="each once"):
        make(concatenated=names)
    with pytest.raises(UserError, match="each once"):
        make(pooled=names)
    with pytest.raises(UserError, match="each once"):
        make(concatenated=["condition"], pooled=["condition"])


def test_a_pooled_picture_of_any_size_is_read_as_a_whole() -> None:
    network = randomise(make_base(pooled=["condition"]))
    z, log_snr, conditioning = make_inputs(network)

    def told(images: torch.Tensor) -> torch.Tensor:
        return network(z, log_snr, Conditioning(conditioning, condition=ImageSignal(images)))

    grey, red = torch.zeros(3, 3, 40, 24), torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(3, 3, 40, 24)
    assert (told(red) - told(grey)).abs().max() > 1e-4
    assert_same(told(red.flip(-1)), told(red))


@pytest.mark.parametrize(
    "wrong", [{"channels": 48}, {"channels": 0}, {"num_blocks": 0}, {"stride": 3}, {"attention_every": 0}]
)
def test_impossible_levels_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="of a level must be"):
        LevelSpec(**{"channels": 64, "num_blocks": 1, **wrong})
