"""A budget adds pictures only to neighbouring weights that are not separated."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.judges.checker import ShapesChecker
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.evaluation.results.budget import Budget, affordable, spend
from imagen.evaluation.results.neighbours import Comparison
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.plan import Cell
from imagen.evaluation.sweep.reference import ShapesReference
from imagen.files import fingerprint

from .stand_ins import DrawingSampler, plan
from .test_processes import MeanColour
from .test_sweep import files

CELLS = [Cell("static", weight) for weight in (1.0, 2.0, 3.0, 4.0)]


def pictures(count):
    """A block of so many."""
    return Block({}, {}, [None] * count, torch.zeros(0, 1, 1, 3, dtype=torch.uint8), 1)


class KnownComparison(Comparison):
    """Pairs are separated as soon as both cells have so many pictures."""

    def __init__(self, needed):
        self.needed = needed

    def undecided(self, cells):
        pairs = list(pairwise(CELLS))
        return [pair for pair in pairs if min(len(cells[cell]) for cell in pair) < self.needed[pair[0].guidance_weight]]


def spent(budget, needed, prompts=1000):
    cells = {cell: pictures(20) for cell in CELLS}

    def extend(chosen, count):
        return {cell: pictures(count) for cell in chosen}

    found = spend(Budget(budget, 20), cells, KnownComparison(needed), extend, prompts, block_size=10)
    return [len(found.cells[cell]) for cell in CELLS], found


def test_pairs_that_are_separated_get_nothing_more():
    counts, found = spent(10_000, {1.0: 20, 2.0: 20, 3.0: 50})
    assert counts == [20, 20, 50, 50]
    assert (found.added, found.undecided) == (60, [])


def test_a_budget_is_not_exceeded_and_says_what_is_left_open():
    counts, found = spent(45, {1.0: 20, 2.0: 20, 3.0: 500})
    assert counts == [20, 20, 40, 40]
    assert found.added == 40
    assert found.undecided == [(CELLS[2], CELLS[3])]


def test_it_ends_where_the_prompts_end():
    counts, found = spent(10_000, {1.0: 500, 2.0: 20, 3.0: 20}, prompts=35)
    assert counts == [35, 35, 20, 20]
    assert len(found.undecided) == 1


def test_a_budget_that_does_not_suffice_for_all_goes_to_the_first_pairs():
    cells = {cell: pictures(20) for cell in CELLS}
    pairs = [(CELLS[0], CELLS[1]), (CELLS[2], CELLS[3])]
    assert affordable(pairs, cells, [40, 30], 80) == (CELLS, 40)
    assert affordable(pairs, cells, [40, 30], 79) == (CELLS, 30)
    assert affordable(pairs, cells, [40, 30], 39) == (CELLS[:2], 30)
    assert affordable(pairs, cells, [40, 30], 19) == ([], 0)


@pytest.mark.parametrize(("pictures", "first_pass"), [(0, 4), (10, 0), (True, 4)])
def test_wrong_numbers_are_refused(pictures, first_pass):
    with pytest.raises(UserError, match="must be a whole number of at least 1"):
        Budget(pictures, first_pass)


def evaluate(out, sampler, budget, count=40, judge=None, categories=(None,)):
    prompts = shapes_prompts(count=count, seed=5)
    named = [replace(p, category=categories[i % len(categories)]) for i, p in enumerate(prompts.prompts)]
    prompts = replace(prompts, prompts=tuple(named))
    evaluation = Evaluation(
        [judge or MeanColour()], ShapesChecker(), prompts, ShapesReference(8, 77), out, 4, 0, 2, Budget(budget, 12)
    )
    sampler.prompts = prompts
    return evaluation.run(plan(sampler, [1, 1.1, 1000]))


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", lambda results, out: None)


def test_the_table_stays_at_equal_numbers_and_the_steps_use_all(tmp_path, prompts):
    sampler = DrawingSampler(prompts)
    results = evaluate(tmp_path, sampler, 64)
    assert {result.count for result in results.cells} == {12}
    facts = results.facts["budget"]
    assert 0 < facts["added"] <= 64
    assert len(sampler.made) == len(set(sampler.made)) == 6 * 12 + facts["added"]
    by_cell = facts["pictures_by_cell"]
    for step in results.steps:
        ends = [f"{step.curve}-w{float(weight)!r}" for weight in (step.from_weight, step.to_weight)]
        assert step.pictures == min(by_cell[name] for name in ends)
    assert max(step.pictures for step in results.steps) > 12


def test_more_can_be_added_later_and_a_second_run_makes_nothing(tmp_path, prompts):
    first, later, again = (DrawingSampler(prompts) for _ in range(3))
    before = evaluate(tmp_path, first, 32)
    evaluate(tmp_path, later, 96, count=80)
    assert not set(first.made) & set(later.made)
    assert later.made
    blocks = files(tmp_path / "blocks")
    results = evaluate(tmp_path, again, 32)
    assert again.made == []
    assert files(tmp_path / "blocks") == blocks
    assert fingerprint(results.facts) == fingerprint(before.facts)
    assert results.steps == before.steps


@pytest.mark.parametrize("reads", [True, False])
def test_longer_cells_are_split_by_category_too(tmp_path, prompts, judge, reads):
    judge = judge if reads else None
    results = evaluate(tmp_path, DrawingSampler(prompts), 64, judge=judge, categories=("Colors", None, "Text"))
    assert results.facts["budget"]["added"] > 0
    for result in results.cells:
        assert {name: found.count for name, found in result.by_category.items()} == {"Colors": 4, "Text": 4}


def test_a_first_pass_that_leaves_no_prompts_is_refused(tmp_path, prompts):
    with pytest.raises(UserError, match=r"budget=5: the first pass uses 12 of 12 prompts.*prompts\.count"):
        evaluate(tmp_path, DrawingSampler(prompts), 5, count=12)
