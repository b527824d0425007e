import json

import pytest

from imagen.errors import UserError
from imagen.evaluation.compare import MUST_AGREE, compare_results, load_results


def results(value, weights=(1.0, 3.0), **facts):
    interval = {"estimate": value, "low": value - 1, "high": value + 1, "method": "jackknife"}
    metrics = {"fd[j]": value, "recall[j]": 0.5}
    cells = [
        {"thresholding": "dynamic", "guidance_weight": w, "metrics": metrics, "intervals": {"fd[j]": interval}}
        for w in weights
    ]
    return dict.fromkeys(MUST_AGREE, "same") | {"cells": cells} | facts


def test_shared_cells_stand_side_by_side_with_their_intervals():
    text = compare_results(results(5.0), results(7.0, weights=(3.0, 4.0)), ("a", "b"))
    assert "| dynamic | 3 | fd[j] | 5 [4, 6] | 7 [6, 8] |" in text
    assert "| dynamic | 3 | recall[j] | 0.5 | 0.5 |" in text
    assert "| dynamic | 1 |" not in text
    assert "| dynamic | 4 |" not in text


@pytest.mark.parametrize("fact", MUST_AGREE)
def test_numbers_measured_in_different_ways_are_not_compared(fact):
    with pytest.raises(UserError, match=f"a and b differ in {fact}: same and another"):
        compare_results(results(5.0), results(7.0, **{fact: "another"}), ("a", "b"))


def test_nothing_in_common_or_nothing_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="share no guidance weight"):
        compare_results(results(5.0, weights=(1.0,)), results(7.0, weights=(2.0,)), ("a", "b"))
    with pytest.raises(UserError, match="finish that evaluation first"):
        load_results(tmp_path)


def test_the_facts_that_must_agree_are_in_results_json(tmp_path, judge, prompts, sampler):
    from .test_sweep import evaluation

    evaluation(tmp_path, [judge], prompts, weights=[1]).run(sampler, "cascade")
    found = load_results(tmp_path)
    assert set(MUST_AGREE) <= found.keys()
    assert "| static | 1 | kid[tiny] |" in compare_results(found, json.loads(json.dumps(found)), ("a", "b"))
