"""The published metrics with the real classes; the weights are random, so the numbers are not FID and CLIP score."""

import pickle

import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.judges.extractor import cosines
from imagen.evaluation.judges.inception import Inception
from imagen.evaluation.judges.metric import KID
from imagen.evaluation.statistics.audit import (
    audit_alignment,
    clip_score_by_torchmetrics,
    clip_score_metric,
)


@pytest.fixture(scope="module")
def inception(inception_weights):
    return Inception(inception_weights, device="cpu", batch_size=4)


def test_inception_gives_torchmetrics_fid_the_features_it_would_have_computed(
    inception, inception_weights, random_pixels
):
    from torchmetrics.image.fid import FrechetInceptionDistance

    # antialias=False is torch-fidelity's (and TensorFlow's) resize; torchmetrics' default is neither.
    metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(inception_weights), antialias=False)
    real, generated = random_pixels[:2], random_pixels[2:4]
    metric.update(real.movedim(-1, 1), real=True)
    metric.update(generated.movedim(-1, 1), real=False)
    # All that its compute() reads; the eigenvalues of 2048 x 2048 take ten seconds and are audited in test_frechet.
    for pixels, name in ((real, "real"), (generated, "fake")):
        features = inception.image_features(pixels).double()
        assert features.std() > 1e-2
        theirs = getattr(metric, f"{name}_features_sum"), getattr(metric, f"{name}_features_cov_sum")
        torch.testing.assert_close(theirs, (features.sum(dim=0), features.T @ features), rtol=1e-5, atol=1e-5)


def test_inception_with_other_weights_is_not_called_fid(inception):
    assert inception.fidelity_key == f"fd[inception:{inception.identity['files']['weights'][:8]}]"
    assert inception.metrics[KID].key == f"kid[{inception.name}]"


def test_inception_features_do_not_depend_on_the_batch(inception, random_pixels):
    whole = inception.image_features(random_pixels[:3])
    assert whole.shape == (3, 2048)
    assert whole.std() > 1e-2
    torch.testing.assert_close(inception.image_features(random_pixels[2:3]), whole[2:], atol=1e-4, rtol=1e-3)


def test_a_missing_or_wrong_or_dangerous_weights_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth does not exist: fetch it once with .*fetch inception"):
        Inception(tmp_path / "none.pth")
    torch.save({"conv": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match="not weights of FID's Inception"):
        Inception(tmp_path / "wrong.pth")
    marker = tmp_path / "executed"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Evil(str(marker))))
    with pytest.raises(UserError, match="not weights of FID's Inception"):
        Inception(tmp_path / "evil.pth")
    assert not marker.exists()


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class Unwrapped:
    """A CLIPModel whose feature methods return tensors again, as torchmetrics 1.9 expects (Lightning-AI #3407)."""

    def __init__(self, model):
        self.model = model
        self.config = model.config

    def to(self, device):
        self.model.to(device)
        return self

    def get_image_features(self, pixel_values):
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output

    def get_text_features(self, input_ids, attention_mask):
        return self.model.get_text_features(input_ids, attention_mask=attention_mask).pooler_output


def test_clip_score_equals_torchmetrics_on_the_pictures_themselves(clip, judge, random_pixels):
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel, CLIPProcessor

    captions = [f"caption {number}" for number in range(len(random_pixels))]
    processor = CLIPProcessor(CLIPImageProcessor.from_pretrained(clip), AutoTokenizer.from_pretrained(clip))
    metric = clip_score_metric(Unwrapped(CLIPModel.from_pretrained(clip).eval()), processor)
    with torch.inference_mode():
        metric.update(list(random_pixels.movedim(-1, 1)), captions)
    ours = 100 * float(cosines(judge.image_features(random_pixels), judge.text_features(captions)).mean())
    assert max(ours, 0) == pytest.approx(float(metric.compute()), abs=1e-3)
    assert abs(ours) > 0.1


def test_torchmetrics_over_stored_features_audits_the_mean_cosine():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(20, 8, generator=generator)
    texts = images + 0.5 * torch.randn(20, 8, generator=generator)
    mean = float(cosines(images, texts).double().mean())
    assert clip_score_by_torchmetrics(images, texts) == pytest.approx(100 * mean, rel=1e-6)
    assert audit_alignment("align", images, texts, 1.0, mean).agrees
    assert not audit_alignment("align", images, texts, 1.0, mean + 1e-4).agrees
    # A mean below zero is zero in torchmetrics.
    assert audit_alignment("align", images, -texts, 100.0, -100 * mean).agrees
