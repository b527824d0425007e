"""What unCLIP's networks read: the prior, and a U-Net that is told the embedding of a picture."""

import pytest
import torch
from small_networks import EMBEDDING, TEXT_FEATURES, make_base, make_efficient, make_inputs, randomise

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.errors import UserError
from imagen.networks.attention import SelfAttentionSpec
from imagen.networks.picture_tokens import TOKENS, PictureTokens
from imagen.networks.prior import PriorTransformer
from imagen.networks.text_context import TextContext

BATCH = 3


def make_prior():
    torch.manual_seed(0)
    return PriorTransformer(EMBEDDING, TEXT_FEATURES, width=32, layers=2, heads=2).eval()


def inputs(lengths=(5, 1, 3), tokens=6):
    generator = torch.Generator().manual_seed(2)
    z, caption = torch.randn(2, BATCH, EMBEDDING, generator=generator)
    mask = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    text = torch.randn(BATCH, 16, TEXT_FEATURES, generator=generator)[:, :tokens] * mask[..., None]
    told = Conditioning(text=TextSignal(text, mask), caption_embedding=VectorSignal.of(caption))
    return z[:, :, None, None], torch.randn(BATCH, generator=generator), told


def test_a_prior_predicts_a_vector_and_starts_at_zero():
    z, log_snr, told = inputs()
    out = make_prior()(z, log_snr, told)
    assert out.shape == (BATCH, EMBEDDING, 1, 1)
    assert torch.equal(out, torch.zeros_like(z))


def test_a_prior_reads_all_that_it_is_told():
    prior = randomise(make_prior())
    z, log_snr, told = inputs()
    out = prior(z, log_snr, told)
    changed_text = Conditioning(told, text=TextSignal(told["text"].values.roll(1, 0), told["text"].mask))
    changed_caption = Conditioning(told, caption_embedding=VectorSignal.of(told["caption_embedding"].values + 1))
    for other in (
        prior(z + 1, log_snr, told), prior(z, log_snr + 1, told), prior(z, log_snr, changed_text),
        prior(z, log_snr, changed_caption),
    ):  # fmt: skip
        assert (other - out).flatten(1).norm(dim=1).min() > 1e-3


@torch.no_grad()
def test_the_padding_of_a_caption_is_invisible_to_a_prior():
    prior = randomise(make_prior())
    z, log_snr, told = inputs()
    out = prior(z, log_snr, told)
    longer = Conditioning(told, text=told["text"].padded(16))
    text = longer["text"]
    garbage = Conditioning(told, text=TextSignal(text.values.masked_fill(~text.mask[..., None], 7.0), text.mask))
    for other in (longer, garbage):
        torch.testing.assert_close(prior(z, log_snr, other), out, atol=1e-5, rtol=1e-4)
    alone = prior(z[1:2], log_snr[1:2], longer.take(slice(1, 2)))
    torch.testing.assert_close(alone, out[1:2], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_prior_without_a_caption_sees_no_token():
    prior = randomise(make_prior())
    z, log_snr, told = inputs()
    nothing = told.without("text", "caption_embedding")
    no_tokens = Conditioning(nothing, text=TextSignal.none(BATCH, TEXT_FEATURES))
    out = prior(z, log_snr, nothing)
    assert out.isfinite().all()
    torch.testing.assert_close(out, prior(z, log_snr, no_tokens), atol=1e-5, rtol=1e-4)
    assert (out - prior(z, log_snr, told)).norm() > 1e-3


@torch.no_grad()
def test_a_token_of_a_prior_sees_those_before_it_alone():
    prior = randomise(make_prior())
    z, log_snr, told = inputs()
    made = []
    prior.blocks.register_forward_hook(lambda _, __, out: made.append(out))
    prior(z, log_snr, told)
    prior(z + 1, log_snr, told)
    differ = (made[0] - made[1]).abs().amax(dim=(0, 2)) > 1e-6
    assert differ.tolist() == [False] * (len(differ) - 2) + [True] * 2  # z itself, and the query behind it


def test_the_width_of_a_prior_is_that_of_its_heads():
    with pytest.raises(UserError, match="width=32 of the prior must be a multiple of heads=3"):
        PriorTransformer(EMBEDDING, TEXT_FEATURES, width=32, layers=1, heads=3)


def test_the_embedding_of_a_picture_is_four_tokens_behind_the_text_and_none_where_there_is_none():
    torch.manual_seed(0)
    tokens = PictureTokens(EMBEDDING, TEXT_FEATURES)
    text = TextContext.of(inputs()[2]["text"], torch.float32)
    vectors = VectorSignal(torch.randn(BATCH, EMBEDDING), torch.tensor([True, False, True]))
    both = tokens(text, vectors)
    assert TOKENS == 4
    assert torch.equal(both.tokens[:, :-4], text.tokens)
    assert torch.equal(both.bias[..., :-4], text.bias)
    assert both.bias[:, 0, 0, -4:].tolist() == [[0.0] * 4, [-torch.inf] * 4, [0.0] * 4]
    assert torch.equal(both.present, text.present)
    assert (both.tokens[:, -4:].std(dim=-1) - 1).abs().max() < 0.05  # normalised, as the text's


@torch.no_grad()
def test_the_vector_reaches_the_network_by_both_ways():
    network = randomise(make_base(picture_embedding=EMBEDDING))
    z, log_snr, told = make_inputs(network)
    out = network(z, log_snr, told)
    without = network(z, log_snr, told.without("picture_embedding"))
    added, network.embedding.picture = network.embedding.picture, torch.nn.Linear(EMBEDDING, 64)
    torch.nn.init.zeros_(network.embedding.picture.weight)
    tokens_alone = network(z, log_snr, told)
    network.embedding.picture = added
    torch.nn.init.zeros_(network.picture_tokens.to_tokens.weight)
    added_alone = network(z, log_snr, told)
    outs = [out, without, tokens_alone, added_alone]
    assert all((one - other).norm() > 1e-3 for i, one in enumerate(outs) for other in outs[:i])


def test_a_vector_that_is_missing_or_superfluous_is_refused():
    network, efficient = make_base(picture_embedding=EMBEDDING), make_efficient(SelfAttentionSpec(32), low_res=False)
    z, log_snr, told = make_inputs(network)
    with pytest.raises(UserError, match="is told a picture's embedding and was given none: its argument `picture_emb"):
        network(z, log_snr, Conditioning(text=told["text"]))
    for other in (make_base(), efficient):
        with pytest.raises(UserError, match="is not told the picture's embedding and was given one"):
            other(z, log_snr, told)
