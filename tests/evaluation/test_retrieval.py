"""R@k: whether pictures find their own captions."""

import pytest
import torch

from imagen.evaluation.judges.checker import NoChecker
from imagen.evaluation.prompts.prompt_set import list_prompts
from imagen.evaluation.results.summary import Summary
from imagen.evaluation.statistics.jackknife import wilson
from imagen.evaluation.statistics.retrieval import caption_ranks
from imagen.evaluation.sweep.sweep import Panel


def test_ranks_are_places_among_the_captions_by_cosine():
    texts = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    pictures = torch.tensor([[5.0, 1.0], [1.0, 0.9], [1.0, 0.1]])
    assert caption_ranks(pictures, texts, ["a", "b", "c"]).tolist() == [0, 1, 2]


def test_a_caption_of_several_pictures_is_no_rival_of_itself():
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    pictures = torch.tensor([[1.0, 0.1], [0.1, 1.0], [0.0, 1.0]])
    assert caption_ranks(pictures, texts, ["a", "a", "b"]).tolist() == [0, 1, 0]


def test_captions_that_the_judge_cannot_tell_apart_are_not_found():
    texts = torch.randn(1, 16, generator=torch.Generator().manual_seed(0)).expand(7, -1)
    pictures = torch.randn(7, 16, generator=torch.Generator().manual_seed(1))
    assert caption_ranks(pictures, texts, list("abcdefg")).tolist() == [6] * 7


def test_the_ranks_of_noise_are_those_of_chance():
    generator = torch.Generator().manual_seed(2)
    pictures, texts = (torch.randn(400, 16, generator=generator) for _ in range(2))
    rank = caption_ranks(pictures, texts, [str(i) for i in range(400)])
    assert 180 < rank.double().mean() < 220
    assert (rank < 5).double().mean() < 0.05


def test_a_broken_judge_finds_nothing():
    features = torch.full((5, 16), float("nan"))
    assert caption_ranks(features, torch.randn(5, 16), list("abcde")).tolist() == [4] * 5
    assert caption_ranks(torch.randn(5, 16), features, list("abcde")).tolist() == [4] * 5


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_no_recall_that_every_picture_has(judge, random_pixels, count):
    prompts = list_prompts([f"caption {i}" for i in range(count)])
    panel = Panel([judge], NoChecker())
    block = panel.look(random_pixels[:count], prompts.prompts, keep=0)
    reference = {"tiny": torch.randn(5, 16, generator=torch.Generator().manual_seed(3))}
    found = Summary(panel, prompts, reference, prompts).measure(block)
    assert ("retrieval1[tiny]" in found.values, "retrieval5[tiny]" in found.values) == (count > 1, count > 5)


def test_finished_blocks_give_retrieval_with_wilsons_interval_in_cells_and_controls(run):
    results, _ = run
    judge = results.judges[0]
    for result in results.cells:
        right = result.metrics["retrieval1[tiny]"] * 12
        assert result.intervals["retrieval1[tiny]"] == wilson(round(right), 12)
        assert result.metrics["retrieval1[tiny]"] <= result.metrics["retrieval5[tiny]"]
    assert "retrieval1[tiny]" in results.controls["ground-truth"]
    assert results.control_intervals["ground-truth"]["retrieval5[tiny]"].method == "wilson"
    assert {step.metric for step in results.steps} >= {"retrieval1[tiny]", "retrieval5[tiny]"}
    assert not judge.metrics["retrieval1"].lower_is_better
