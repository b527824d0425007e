"""Captions beyond a judge's length are counted, and their pictures kept out of its alignment and retrieval."""

import json

import pytest
import torch

from imagen.evaluation.judges.checker import NoChecker
from imagen.evaluation.judges.extractor import cosines, left_out_lines
from imagen.evaluation.prompts.prompt_set import Prompt, PromptSet, list_prompts
from imagen.evaluation.report.report import as_markdown
from imagen.evaluation.report.tables import category_tables, control_table, curve_table
from imagen.evaluation.results.neighbours import Comparison
from imagen.evaluation.results.summary import Summary
from imagen.evaluation.statistics.jackknife import jackknife_mean
from imagen.evaluation.statistics.retrieval import caption_ranks
from imagen.evaluation.sweep.plan import Cell
from imagen.evaluation.sweep.sweep import Panel

LONG = "too long " * 40
READ = [0, 1, 3, 4, 6, 7, 8, 10, 11]
"""Of twelve captions those that the judge reads whole."""
TEXTS = [f"caption {index}" if index in READ else f"{LONG}{index}" for index in range(12)]


def summary(judge, pixels, prompts):
    panel = Panel([judge], NoChecker())
    whole = Summary(panel, prompts, {judge.name: judge.image_features(pixels.flip(0))}, prompts)
    return whole, panel.look(pixels, prompts.prompts, keep=0)


@pytest.fixture
def measured(judge, random_pixels):
    whole, block = summary(judge, random_pixels, list_prompts(TEXTS))
    return whole.measure(block)


def test_the_numbers_are_of_the_captions_that_are_read(measured, judge, random_pixels):
    features, texts = judge.image_features(random_pixels)[READ], judge.text_features([TEXTS[i] for i in READ])
    scores = cosines(features, texts) * judge.alignment_scale
    assert measured.values["align[tiny]"] == float(scores.mean())
    ranks = caption_ranks(features, texts, [TEXTS[i] for i in READ])
    for k in (1, 5):
        assert measured.values[f"retrieval{k}[tiny]"] == float((ranks < k).double().mean())
    everything = cosines(judge.image_features(random_pixels), judge.text_features(TEXTS)) * judge.alignment_scale
    assert measured.values["align[tiny]"] != float(everything.mean())
    interval = measured.intervals["align[tiny]"]
    assert interval.low <= measured.values["align[tiny]"] <= interval.high


def test_distances_keep_every_picture(measured, judge, random_pixels):
    others, block = summary(judge, random_pixels, list_prompts([f"caption {index}" for index in range(12)]))
    short = others.measure(block)
    for name in ("fd[tiny]", "kid[tiny]", "mind[tiny]", "cmmd[tiny]", "precision[tiny]"):
        assert measured.values[name] == short.values[name]
    assert measured.values["align[tiny]"] != short.values["align[tiny]"]


def test_pictures_stay_in_their_groups_so_that_numbers_remain_paired(measured):
    jackknives = [measured.jackknives[name] for name in ("align[tiny]", "retrieval1[tiny]", "kid[tiny]")]
    for one in jackknives:
        assert one.sizes.tolist() == jackknives[-1].sizes.tolist() == [1.0] * 12
    align = jackknives[0]
    assert [i for i in range(12) if float(align.without[i]) == align.value] == [i for i in range(12) if i not in READ]


def test_both_pictures_of_a_prompt_are_in_one_group(judge, random_pixels):
    texts = [f"caption {index}" if index else LONG for index in range(20)]
    prompts = list_prompts(texts).repeated(2)
    pixels = random_pixels.repeat(4, 1, 1, 1)[:40]
    whole, block = summary(judge, pixels, prompts)
    found = whole.measure(block).jackknives["align[tiny]"]
    scores = cosines(block.features["tiny"], judge.text_features(prompts.texts)) * judge.alignment_scale
    for index in (1, 19):
        others = [i for i in range(40) if i % 20 not in (0, index)]
        assert float(found.without[index]) == pytest.approx(float(scores[others].mean()), rel=1e-12)


def test_the_control_and_the_audit_are_of_the_same_pictures(judge, random_pixels):
    whole, block = summary(judge, random_pixels, list_prompts(TEXTS))
    texts = judge.text_features([TEXTS[i] for i in READ])
    expected = float(cosines(block.features["tiny"][READ], texts.roll(-1, 0)).mean()) * judge.alignment_scale
    assert whole.shuffled_alignment(block) == {"align[tiny]": pytest.approx(expected, rel=1e-12)}
    audits = [audit for audit in whole.audits({Cell("a", 1.0): block}) if audit.key.startswith("align[tiny]")]
    assert len(audits) == 1
    assert audits[0].agrees
    assert audits[0].ours == pytest.approx(max(whole.measure(block).values["align[tiny]"], 0), abs=1e-6)


@pytest.mark.parametrize("read", [0, 1])
def test_a_judge_that_reads_none_has_no_alignment_and_one_caption_no_interval(judge, random_pixels, read):
    texts = ["caption"] * read + [f"{LONG}{index}" for index in range(12 - read)]
    whole, block = summary(judge, random_pixels, list_prompts(texts))
    found = whole.measure(block)
    assert ("align[tiny]" in found.values) == bool(read)
    assert "align[tiny]" not in found.intervals | found.jackknives
    assert not [name for name in found.values if name.startswith("retrieval")]
    assert whole.shuffled_alignment(block) == {}
    assert not [one for one in whole.audits({Cell("a", 1.0): block}) if one.key.startswith("align")] or read
    cells = {Cell("a", 1.0): block, Cell("a", 2.0): block}
    assert len(Comparison(whole).undecided(cells)) == 1  # by its distance, which few pictures have no interval of
    assert ("align[tiny]" in Comparison(whole)._axes()) == bool(read)


def test_the_report_says_how_many(tmp_path, judge, sampler, prompts):
    from .stand_ins import plan
    from .test_sweep import evaluation

    kinds = ("Short", "Long")
    sampler.prompts = PromptSet(
        tuple(
            Prompt(f"{LONG}{i}" if i < 3 else p.text, p.description, p.truth, kinds[i < 3])
            for i, p in enumerate(prompts.prompts)
        ),
        {"kind": "test"},
    )
    made = evaluation(tmp_path, [judge], sampler.prompts)
    assert made.captions_too_long() == {"tiny": 3 + sum(judge.too_long(prompts.texts[3:]))}
    results = made.run(plan(sampler, [1, 4]))
    count = made.captions_too_long()["tiny"]
    assert json.loads((tmp_path / "results.json").read_text())["captions_too_long"] == {"tiny": count}
    (line,) = left_out_lines({"tiny": count}, 12)
    assert line in as_markdown(results)
    assert line in (tmp_path / "report.html").read_text()
    rows = {row[0]: row[1:] for row in curve_table(results, "static")}
    assert rows["align[tiny]: pictures left out"] == [str(count)] * 2
    assert "fd[tiny]: pictures left out" not in rows
    by_category = {row[0]: row[1:] for row in category_tables(results, "static")["align[tiny]"]}
    assert "Long" not in by_category, "no picture of it has an alignment"
    assert by_category["Short"][1]
    assert any(control_table(results)[1:])


def test_a_line_says_that_a_judge_reads_nothing():
    some, none = left_out_lines({"a": 3, "b": 0, "c": 12}, 12)
    assert some.startswith("3 of the 12 captions are longer than a reads: their pictures are left out")
    assert none.startswith("all 12 captions are longer than c reads: it gives no alignment")


def test_the_mean_of_some_is_their_mean_and_that_of_all_as_before():
    values = torch.rand(45, generator=torch.Generator().manual_seed(0)).double()
    some = values.clone()
    some[::4] = torch.nan
    assert jackknife_mean(some).value == float(values[torch.arange(45) % 4 != 0].mean())
    assert jackknife_mean(values).value == float(values.mean())
