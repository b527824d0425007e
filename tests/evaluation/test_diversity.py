"""Several pictures of each prompt: how different they are, and intervals that allow for their being alike."""

import numpy as np
import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.evaluation.results.budget import Budget
from imagen.evaluation.results.results import GROUND_TRUTH, NOISE
from imagen.evaluation.statistics.diversity import variance_within
from imagen.evaluation.statistics.jackknife import groups_of, wilson

from .stand_ins import DrawingSampler, plan
from .test_summary import drawn, measured
from .test_sweep import evaluation


@pytest.fixture(scope="module")
def prompts():
    return shapes_prompts(count=20, seed=5)


@pytest.fixture
def random_pixels():
    return torch.randint(0, 256, (60, 8, 8, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def test_it_is_the_unbiased_variance_of_each_prompt():
    features = drawn(60, 0)
    by_prompt = features.view(3, 20, -1).double().numpy()
    expected = by_prompt.var(axis=0, ddof=1).sum(axis=1).mean()
    assert float(variance_within(features, 3).mean()) == pytest.approx(expected)


def test_prompts_come_round_and_a_group_has_all_pictures_of_its_prompts(prompts):
    repeated = prompts.repeated(3)
    assert repeated.texts == prompts.texts * 3
    assert repeated.first(20).texts == prompts.texts
    assert repeated.identity == prompts.identity | {"count": 20, "pictures_per_prompt": 3}
    assert (groups_of(60).view(3, 20) == groups_of(20)).all()
    assert prompts.repeated(1) is prompts


def test_what_cannot_be_repeated_is_refused(prompts, tmp_path, judge):
    with pytest.raises(UserError, match=r"multiple of 20 prompts, and there are 12: give at least 20"):
        shapes_prompts(count=12, seed=5).repeated(2)
    with pytest.raises(UserError, match=r"multiple of 20 prompts, and there are 50: set .*=40"):
        shapes_prompts(count=50, seed=5).repeated(2)
    for wrong in (0, True):
        with pytest.raises(UserError, match=f"pictures_per_prompt={wrong} must be a whole number of at least 1"):
            prompts.repeated(wrong)
    with pytest.raises(UserError, match="a budget adds prompts, so it cannot be with pictures_per_prompt=2"):
        evaluation(tmp_path, [judge], prompts.repeated(2), budget=Budget(100, 10))


def test_the_share_of_what_varies_within_prompts_is_found(judge, random_pixels, prompts):
    """Features are a prompt's own plus half as much noise: .2 of the variance of real pictures is the noise's."""
    own, noise = drawn(20, 1), drawn(60, 2)
    features = own.repeat(3, 1) + 0.5 * noise
    reference = drawn(4000, 3) * (1.25**0.5)
    found, _ = measured(judge, random_pixels, prompts.repeated(3), features, reference)
    interval = found.intervals["diversity[tiny]"]
    assert found.values["diversity[tiny]"] == pytest.approx(0.2, rel=0.15)
    assert interval.low < 0.2 < interval.high < 0.3


def test_without_repetition_there_is_none(judge, random_pixels, prompts):
    found, _ = measured(judge, random_pixels, prompts, drawn(20, 1), drawn(40, 2))
    assert not [name for name in found.values if "diversity" in name]


def test_pictures_of_a_prompt_that_are_alike_count_once(judge, random_pixels, prompts):
    """Three equal pictures of each prompt say as little as one: the intervals are those of one."""
    pixels = random_pixels[:20].repeat(3, 1, 1, 1)
    features, reference = drawn(20, 1), drawn(400, 2)
    once, _ = measured(judge, pixels, prompts, features, reference)
    thrice, _ = measured(judge, pixels, prompts.repeated(3), features.repeat(3, 1), reference)
    for name in (judge.alignment_key, "checker[all]", "checker[abstained]"):
        assert thrice.intervals[name].low == pytest.approx(once.intervals[name].low), name
        assert thrice.intervals[name].high == pytest.approx(once.intervals[name].high), name


def test_wilsons_interval_of_as_many_as_they_are_worth():
    assert wilson(10.0, 20.0) == wilson(10, 20)
    wide, narrow = wilson(10, 20), wilson(30, 60)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_an_evaluation_measures_it_but_not_of_true_pictures(tmp_path, judge, prompts, monkeypatch):
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", lambda results, out: None)
    repeated = prompts.repeated(2)
    results = evaluation(tmp_path, [judge], repeated).run(plan(DrawingSampler(repeated)))
    shares = [cell.metrics["diversity[tiny]"] for cell in results.cells if cell.cell.curve == "dynamic"]
    assert shares[0] > shares[1] > 0  # at a weight of 1 the sampler often draws another scene
    assert "diversity[tiny]" not in results.controls[GROUND_TRUTH]
    assert results.controls[NOISE]["diversity[tiny]"] > 0
    assert {step.metric for step in results.steps} >= {"diversity[tiny]"}
    assert results.facts["prompts"]["pictures_per_prompt"] == 2


def test_a_broken_reference_gives_no_number(judge, random_pixels, prompts):
    features = drawn(40, 1)
    found, _ = measured(judge, random_pixels, prompts.repeated(2), features, features[:1].expand(40, -1))
    assert not [name for name in found.values if "diversity" in name]
    assert np.isfinite(list(found.values.values())).all()
