import json

import pytest

from imagen.evaluation.judges.extractor import cosines
from imagen.evaluation.prompts.prompt_set import Prompt, PromptSet
from imagen.evaluation.report.report import as_markdown
from imagen.evaluation.report.tables import category_tables
from imagen.evaluation.results.categories import measure_categories

from .stand_ins import plan
from .test_sweep import evaluation


def test_every_category_has_the_mean_of_its_own_pictures_with_its_interval(judge, random_pixels, prompts):
    from imagen.evaluation.judges.checker import ShapesChecker
    from imagen.evaluation.sweep.sweep import Panel

    panel = Panel([judge], ShapesChecker())
    block = panel.look(random_pixels, prompts.prompts, keep=0)
    categories = ["Colors", None, "Text"] * 4
    found = measure_categories(categories, panel, block)
    assert list(found) == ["Colors", "Text"]
    scores = cosines(block.features["tiny"], judge.text_features(prompts.texts)) * judge.alignment_scale
    for offset, name in ((0, "Colors"), (2, "Text")):
        assert found[name].count == 4
        assert found[name].metrics["align[tiny]"] == pytest.approx(float(scores[offset::3].mean()))
        assert found[name].metrics["checker[all]"] == 0  # noise
        for metric, interval in found[name].intervals.items():
            assert interval.low <= found[name].metrics[metric] <= interval.high


def test_the_report_has_a_table_by_category(tmp_path, judge, prompts, sampler):
    categories = ("Colors", "a | b", "Text")
    named = tuple(Prompt(p.text, p.description, p.truth, categories[i % 3]) for i, p in enumerate(prompts.prompts))
    results = evaluation(tmp_path, [judge], PromptSet(named, {"kind": "test"})).run(plan(sampler, [1, 4]))
    tables = category_tables(results, "static")
    assert list(tables) == ["align[tiny]", "checker[all]"]
    head, *rows = tables["align[tiny]"]
    assert head == ["align[tiny] by category", "prompts", "w = 1", "w = 4"]
    assert [row[:2] for row in rows] == [[name, "4"] for name in categories]
    assert f"| {' | '.join(rows[0])} |" in as_markdown(results)
    assert rows[0][2] in (tmp_path / "report.html").read_text()
    kept = json.loads((tmp_path / "results.json").read_text())["cells"][0]["by_category"]
    assert kept["Colors"]["count"] == 4
    assert kept["Colors"]["metrics"] == results.cells[0].by_category["Colors"].metrics
