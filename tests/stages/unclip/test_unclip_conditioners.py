"""What the prior and the decoder are told in training, and what guidance takes away from them."""

from dataclasses import replace

import pytest
import torch
from embedded import FEATURES, TEXT_FEATURES, make_clip, prior_stage, shapes_batch

from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import sample_images
from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ClassifierFreeGuidance, IntervalGuidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.thresholding import NoThresholding
from imagen.diffusion.unclip.embedding_alone import EmbeddingAlone
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.conditioners import TextConditioner
from imagen.stages.distillation.guidance_conditioner import GuidanceConditioner
from imagen.stages.unclip.conditioners import PictureEmbeddingConditioner, PriorConditioner


@pytest.fixture(scope="module")
def batch():
    return shapes_batch()


def decoder(dropout=0.1):
    return PictureEmbeddingConditioner(TextConditioner(), make_clip(), dropout)


def test_a_decoder_is_told_the_vectors_of_its_pictures_but_for_a_share(batch):
    clip = make_clip().pictures(batch.large).values
    told = decoder(0.5).for_training(batch, make_generator(0))
    present = told["picture_embedding"].present
    assert 0 < present.sum() < len(present)
    assert torch.equal(told["picture_embedding"].values, clip * present[:, None])
    assert torch.equal(told["text"].values, batch.text)
    for whole in (decoder(0.5).for_validation(batch, make_generator(0)), decoder().given(batch)):
        assert torch.equal(whole["picture_embedding"].values, clip)
    draws = [decoder(0.25).for_training(batch, make_generator(key))["picture_embedding"].present for key in range(100)]
    assert torch.stack(draws).float().mean().item() == pytest.approx(0.75, abs=0.06)
    with pytest.raises(UserError, match=r"dropout=2 of the picture's embedding must be in \[0, 1\]"):
        decoder(2)


def test_a_prior_learns_the_vectors_of_pictures_from_captions(batch):
    conditioner = PriorConditioner(make_clip())
    target = conditioner.target(batch)
    assert target.shape == (len(batch.images), FEATURES, 1, 1)
    assert torch.equal(target.flatten(1), make_clip().pictures(batch.large).values)
    told = conditioner.for_training(batch, make_generator(0))
    assert torch.equal(told["caption_embedding"].values, make_clip().captions(batch.captions).values)
    assert set(told) == {"text", "caption_embedding"}


def test_a_batch_without_its_pictures_is_refused(batch):
    without = replace(batch, large=None)
    for conditioner in (decoder(), PriorConditioner(make_clip())):
        assert conditioner.looks_at
        with pytest.raises(UserError, match="looks at pictures before they are reduced, and the batch holds none"):
            conditioner.target(without) if conditioner.channels > 3 else conditioner.given(without)
    told = GuidanceConditioner(decoder(), 3.0)
    assert told.looks_at
    assert not GuidanceConditioner(TextConditioner(), 3.0).looks_at


def test_a_dropped_caption_takes_its_vector_with_it_in_a_prior(batch):
    stage = prior_stage(text_dropout=0.5)
    told = stage.conditioner.for_training(batch, make_generator(0))
    drop = torch.tensor([True, False] * 3)
    dropped = stage.drop_text(told, drop)
    assert dropped["caption_embedding"].present.tolist() == (~drop).tolist()
    assert dropped["text"].mask.any(dim=1).tolist() == (~drop).tolist()


@pytest.mark.parametrize(
    ("conditioner", "names"),
    [(decoder(), ("text", "picture_embedding")), (PriorConditioner(make_clip()), ("text", "caption_embedding"))],
    ids=["decoder", "prior"],
)
def test_guidance_by_the_caption_takes_away_both(conditioner, names):
    for rule in (ClassifierFreeGuidance(3), IntervalGuidance(3, -1, 1)):
        assert conditioner.rule(rule) == replace(rule, without=names)
    own = ClassifierFreeGuidance(3, without=("picture_embedding",))
    assert conditioner.rule(own) == own
    assert conditioner.rule(EmbeddingAlone(2)) == EmbeddingAlone(2)


def test_a_decoder_by_its_embedding_alone_is_never_told_the_caption(batch):
    seen = []

    def estimate(z, level, told):
        seen.append(told)
        return z * told["picture_embedding"].present[:, None, None, None]

    told, z = decoder().given(batch), torch.ones(len(batch.images), 3, 8, 8)
    level = NoiseLevel(torch.zeros(len(z)))
    assert torch.equal(EmbeddingAlone(3)(estimate, z, level, told), 3 * z)
    assert torch.equal(EmbeddingAlone(1)(estimate, z, level, told), z)
    assert not any(one["text"].mask.any() for one in seen)
    assert [len(one["text"]) for one in seen] == [12, 6]


def test_a_trained_prior_draws_the_vectors_of_its_pictures(batch):
    stage = prior_stage(text_dropout=0.0)
    optimizer = torch.optim.AdamW(stage.denoiser.parameters(), lr=2e-3)
    for step in range(150):
        losses, _ = stage._losses(stage.denoiser, batch, make_generator(step), training=True)
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        stage.ema.update(stage.denoiser, step + 1)
    settings = SamplingSettings(DDIMSampler(16), ClassifierFreeGuidance(1), NoThresholding())
    generators = [make_generator("draw", i) for i in range(len(batch.images))]
    with torch.no_grad():
        drawn = sample_images(stage.averaged(), stage.conditioner.given(batch), settings, generators).flatten(1)
    target = stage.conditioner.target(batch).flatten(1)
    cosines = torch.nn.functional.cosine_similarity(drawn[:, None], target[None], dim=-1)
    assert cosines.diagonal().min() > 0.95
    assert (cosines.argmax(dim=1) == torch.arange(len(drawn))).all()


def test_sampling_is_told_what_it_is_given(batch):
    given = Conditioning(PriorConditioner(make_clip()).given(batch), picture_embedding=decoder().given(batch)["text"])
    told = decoder().for_sampling(given, (8, 8), 0.0, [make_generator(0)] * 6)
    assert told["picture_embedding"] is given["picture_embedding"]
    with pytest.raises(UserError, match="there is no signal 'picture_embedding' here"):
        decoder().for_sampling(Conditioning(text=given["text"]), (8, 8), 0.0, [make_generator(0)] * 6)
    assert given["text"].values.shape[-1] == TEXT_FEATURES
