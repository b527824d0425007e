"""Tiny DeepFloyd IF stages against diffusers' own pipelines: same weights, same noise, every step."""

import pytest
import torch

from benchmarks.deepfloyd.equality import CASES, Pair

STAGES = [("IF-I", 7.0), ("IF-I", 1.0), ("IF-II", 4.0), ("IF-II", 1.0)]


@pytest.fixture(scope="module")
def pairs(if_base, if_upscaler):
    return {"IF-I": Pair(if_base), "IF-II": Pair(if_base, if_upscaler)}


@pytest.mark.parametrize(("stage", "weight"), STAGES)
@pytest.mark.parametrize("case", CASES)
def test_stage_is_that_of_diffusers_pipeline_at_every_step(pairs, stage, weight, case):
    ours, theirs = (walk(CASES[case], weight) for walk in (pairs[stage].ours, pairs[stage].theirs))
    assert len(ours.z) == 13
    assert ours.z[-1].std() > 0.1
    distances = ours.distances(theirs)
    assert distances[0] == 0, "both begin with the same noise"
    assert distances.max() <= 1e-4


@pytest.mark.parametrize("stage", ["IF-I", "IF-II"])
def test_bfloat16_is_no_farther_from_float32_than_that_of_diffusers(pairs, stage):
    """Without guidance, which would enlarge both from step to step until they differ by luck."""
    pair, case = pairs[stage], CASES["ancestral, learned variance"]
    ours, theirs = (walk(case, 1.0, torch.bfloat16).distances(walk(case, 1.0)) for walk in (pair.ours, pair.theirs))
    assert 0 < ours[-1] <= theirs[-1]
