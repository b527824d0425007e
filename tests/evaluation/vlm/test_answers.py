"""What a judge answers becomes numbers with intervals, in the block files, results.json and the report."""

import json
import re
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from safetensors import safe_open

from imagen.errors import UserError
from imagen.evaluation.compare.report import write_comparison
from imagen.evaluation.compare.sides import load_side, read_results
from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.judges.metric import FRECHET, VQA, Metric, pareto_pairs, read_metrics
from imagen.evaluation.judges.names import PUBLISHED
from imagen.evaluation.prompts.prompt_set import Question, shapes_prompts
from imagen.evaluation.report.report import as_markdown
from imagen.evaluation.report.tables import category_tables
from imagen.evaluation.results.budget import Budget
from imagen.evaluation.statistics.jackknife import jackknife_mean
from imagen.evaluation.statistics.soft_tifa import arithmetic_means, geometric_means, pooled_mean
from imagen.evaluation.sweep.blocks import Block, join
from imagen.files import read_tensors

from ..stand_ins import DrawingSampler, plan
from ..test_sweep import evaluation

VQA_KEY, AM, GM = "vqa[says]", "soft_tifa_am[says]", "soft_tifa_gm[says]"
QUESTIONS = (
    Question("How bright?", "two", "count"),
    Question("Is it?", "Yes", "object"),
    Question("?", "Yes", "object"),
)


class Says(Answerer):
    """Brightness is how well a picture fits; answers are powers of it."""

    name = "says"
    identity: ClassVar = {"files": {"a": "0" * 64}}

    def __init__(self):
        self.asked = 0

    def caption_scores(self, pixels, captions):
        self.asked += len(captions)
        return pixels.double().mean(dim=(1, 2, 3)) / 255

    def answers(self, pixels, questions):
        bright = (pixels.double().mean(dim=(1, 2, 3)) / 255).tolist()
        return [[one ** (i + 1) for i, _ in enumerate(asked)] for one, asked in zip(bright, questions, strict=True)]


def with_questions(count=12, some=range(99)):
    """Captions of the shapes world of two categories; those in `some` are asked about."""
    prompts = shapes_prompts(count=count, seed=5)
    changed = [
        replace(prompt, category=f"{3 + i % 2} atoms", questions=QUESTIONS[: 2 + i % 2] if i in some else ())
        for i, prompt in enumerate(prompts.prompts)
    ]
    return replace(prompts, prompts=tuple(changed))


@pytest.fixture(scope="module")
def answered(tmp_path_factory, judge):
    """A finished evaluation with the tiny CLIP and `Says`, on prompts with questions."""
    out, prompts = tmp_path_factory.mktemp("answered"), with_questions()
    results = evaluation(out, {"clip": judge, "vlm": Says()}, prompts).run(plan(DrawingSampler(prompts)))
    return results, out


@pytest.fixture
def no_report(monkeypatch):
    """Numbers alone, in a tenth of the time."""
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", lambda results, out: None)


def brightness(out, cell):
    """What the blocks of a cell hold."""
    scores, answers = [], []
    for path in sorted(out.glob(f"blocks/*/{cell}/*.safetensors")):
        with safe_open(path, "pt") as file:
            scores.append(file.get_tensor("scores/says"))
            answers += json.loads(file.metadata()["block"])["answers"]["says"]
    return torch.cat(scores), answers


def test_the_means_of_soft_tifa_are_those_of_its_paper():
    answers = [[0.5, 0.5, 0.125], [0.9], [0.0, 1.0], []]
    am, gm = arithmetic_means(answers), geometric_means(answers)
    assert am[:3].tolist() == pytest.approx([0.375, 0.9, 0.5])
    assert gm[:3].tolist() == pytest.approx([0.5 ** (5 / 3), 0.9, 0.0])
    assert bool(am[3].isnan() & gm[3].isnan())
    assert pooled_mean(answers).value == pytest.approx((1.125 + 0.9 + 1.0) / 6)


def test_the_numbers_are_means_over_pictures_with_jackknife_intervals(answered):
    results, out = answered
    for cell in results.cells:
        scores, answers = brightness(out, cell.cell.name)
        assert [len(one) for one in answers] == [2, 3] * 6
        expected = {
            VQA_KEY: scores,
            AM: torch.tensor([sum(one) / len(one) for one in answers], dtype=torch.float64),
            GM: torch.tensor([torch.tensor(one).double().prod() ** (1 / len(one)) for one in answers]).double(),
        }
        for key, values in expected.items():
            assert cell.metrics[key] == pytest.approx(float(values.mean()), rel=1e-6)
            interval = jackknife_mean(values).interval
            assert cell.intervals[key].low == pytest.approx(interval.low, rel=1e-4)
            assert cell.intervals[key].high == pytest.approx(interval.high, rel=1e-4)
    assert {VQA_KEY, AM, GM} <= results.controls["noise"].keys() & results.controls["ground-truth"].keys()
    assert VQA_KEY not in results.controls["shuffled-captions"]
    assert VQA_KEY in {step.metric for step in results.steps}


def test_categories_and_kinds_of_questions_have_their_own_numbers(answered):
    results, out = answered
    cell = results.cells[0]
    scores, answers = brightness(out, cell.cell.name)
    found = cell.by_category
    assert list(found) == ["3 atoms", "4 atoms", "count", "object"]
    assert found["4 atoms"].metrics[VQA_KEY] == pytest.approx(float(scores[1::2].mean()))
    assert found["count"].metrics == {AM: pytest.approx(sum(one[0] for one in answers) / 12)}
    objects = [value for one in answers for value in one[1:]]
    assert found["object"].metrics == {AM: pytest.approx(sum(objects) / len(objects))}
    assert found["object"].count == 12
    assert found["object"].intervals[AM].low < found["object"].metrics[AM] < found["object"].intervals[AM].high
    rows = category_tables(results, "dynamic")
    assert [row[0] for row in rows[AM][1:]] == ["3 atoms", "4 atoms", "count", "object"]
    assert [row[0] for row in rows[VQA_KEY][1:]] == ["3 atoms", "4 atoms"]


def test_the_report_pairs_the_judges_distance_with_it_and_shows_its_intervals(answered):
    results, out = answered
    assert pareto_pairs(results.metrics.values()) == [("align[tiny]", "fd[tiny]"), (VQA_KEY, "fd[tiny]")]
    written = read_results(out)
    assert read_metrics(written, "here")[VQA_KEY] == Metric(VQA_KEY, "says", VQA, lower_is_better=False)
    for cell in written["cells"]:
        assert cell["intervals"][VQA_KEY]["low"] < cell["metrics"][VQA_KEY] < cell["intervals"][VQA_KEY]["high"]
    assert written["judges"]["says"] == Says.identity
    assert written["samples_per_dimension"].keys() == {"fd[tiny]"}
    text = as_markdown(results)
    assert re.search(r"\| vqa\[says\] \| [\d.e-]+ \[[\d.]+, [\d.]+\]", text)
    assert "**VQAScore** is highest" in text
    page = (out / "report.html").read_text()
    assert '["vqa[says]", "fd[tiny]"]' in page or '["vqa[says]","fd[tiny]"]' in page


def test_a_distance_of_a_judge_that_cannot_read_is_the_one_that_stands_against_it():
    metrics = [
        Metric.of_judge("fd[clip]", "clip", FRECHET), Metric.of_judge("align[clip]", "clip", "alignment"),
        Metric.of_judge("fd_dinov2", "dinov2", FRECHET), Metric.of_judge("vqa[vlm]", "vlm", VQA),
    ]  # fmt: skip
    assert pareto_pairs(metrics)[-1] == ("vqa[vlm]", "fd_dinov2")
    assert ("vqa[vlm]", "fd[clip]") not in pareto_pairs(metrics)
    assert pareto_pairs(metrics[2:]) == [("vqa[vlm]", "fd_dinov2")]


@pytest.mark.usefixtures("no_report")
def test_a_second_run_asks_nothing_and_another_question_is_asked_anew(answered, judge, tmp_path):
    results, _ = answered
    prompts, says = with_questions(), Says()
    sampler = DrawingSampler(prompts)
    first = evaluation(tmp_path, [judge, says], prompts).run(plan(sampler))
    asked = says.asked
    again = evaluation(tmp_path, [judge, says], prompts).run(plan(sampler))
    assert says.asked == asked == 12 * (4 + 2)
    assert again.cells == first.cells == results.cells
    other = replace(prompts.prompts[0], questions=(Question("Another?", "Yes"),))
    changed = replace(prompts, prompts=(other, *prompts.prompts[1:]))
    evaluation(tmp_path, [judge, says], changed).run(plan(sampler))
    assert says.asked == asked + 5 * (4 + 2)  # the block of that prompt


@pytest.mark.usefixtures("no_report")
def test_prompts_that_nothing_is_asked_about_have_no_part_in_soft_tifa(judge, tmp_path):
    prompts = with_questions(some=[0, 1, 2])
    cells = evaluation(tmp_path / "some", [judge, Says()], prompts).run(plan(DrawingSampler(prompts))).cells
    _, answers = brightness(tmp_path / "some", cells[0].cell.name)
    known = [one for one in answers if one]
    assert len(known) == 3
    assert cells[0].metrics[AM] == pytest.approx(sum(sum(one) / len(one) for one in known) / 3)
    none = shapes_prompts(count=12, seed=5)
    bare = evaluation(tmp_path / "none", [judge, Says()], none).run(plan(DrawingSampler(none))).cells
    assert VQA_KEY in bare[0].metrics
    assert not {AM, GM} & bare[0].metrics.keys()


@pytest.mark.usefixtures("no_report")
def test_without_such_a_judge_blocks_and_their_fingerprints_are_as_before(judge, tmp_path):
    prompts, plain = with_questions(), shapes_prompts(count=12, seed=5)
    for name, some in (("with", prompts), ("without", plain)):
        evaluation(tmp_path / name, [judge], some, budget=None).run(plan(DrawingSampler(some)))
    one, other = (
        {path.relative_to(tmp_path / name): _header(path) for path in (tmp_path / name).glob("blocks/**/*.safetensors")}
        for name in ("with", "without")
    )
    assert one == other
    assert len(one) == 3 * (4 + 2)
    assert not any("answers" in header for header in one.values())


def _header(path):
    metadata, tensors = read_tensors(path)
    assert not any(name.startswith("scores/") for name in tensors)
    header = json.loads(metadata["block"])
    return {name: value for name, value in header.items() if name != "timings"}


def test_blocks_keep_scores_and_answers_when_they_are_cut_and_joined():
    none = torch.zeros((0, 8, 8, 3), dtype=torch.uint8)
    one = Block(
        {}, {}, [None] * 3, none, 8, scores={"j": torch.tensor([0.1, 0.2, 0.3])}, answers={"j": [[1.0], [], [2.0]]}
    )
    both = join([one.first(2), one])
    assert both.scores["j"].tolist() == pytest.approx([0.1, 0.2, 0.1, 0.2, 0.3])
    assert both.answers == {"j": [[1.0], [], [1.0], [], [2.0]]}


def test_two_evaluations_are_compared_by_it(answered, judge, tmp_path):
    _, out = answered
    prompts = with_questions()
    other = DrawingSampler(prompts, seed=1)
    evaluation(tmp_path / "other", {"clip": judge, "vlm": Says()}, prompts).run(plan(other, cascade="other"))
    write_comparison(load_side(out, "one"), load_side(tmp_path / "other", "other"), tmp_path)
    assert "**VQAScore** by `vqa[says]`" in (tmp_path / "compare.md").read_text()


@pytest.mark.usefixtures("no_report")
def test_a_budget_looks_at_it_too(judge, tmp_path):
    prompts = with_questions(count=40)
    job = evaluation(tmp_path, [judge, Says()], prompts, budget=Budget(20, 10))
    results = job.run(plan(DrawingSampler(prompts)))
    assert results.facts["budget"]["added"] > 0
    assert VQA_KEY in {step.metric for step in results.steps}


@pytest.mark.parametrize(
    ("judges", "complaint"),
    [
        ([], "metrics.judges is empty"),
        ([Says()], "has no judge with features beside says"),
        ([Says(), Says()], "two judges are called 'says'"),
        ({"vlm": {"path": "/x"}}, "which is no judge"),
    ],
)
def test_judges_that_give_no_distance_are_refused(tmp_path, judges, complaint):
    with pytest.raises(UserError, match=re.escape(complaint)):
        evaluation(tmp_path, judges, shapes_prompts(count=4, seed=1))


@pytest.mark.parametrize(
    ("key", "named", "files"),
    [
        ("vqascore", "says", {}), ("vqa", "says", {}), ("soft_tifa_gm[other]", "says", {}),
        ("vqa[vqascore]", "vqascore", {}), ("vqa[says]", "tifa", {}),
        ("vqascore", "dinov2", PUBLISHED["dinov2"][0]),
    ],
)  # fmt: skip
def test_a_number_that_could_be_taken_for_a_published_vqascore_is_refused(answered, key, named, files):
    written = read_results(answered[1])
    written["metrics"].append({"key": key, "judge": named, "axis": VQA, "lower_is_better": False})
    written["judges"] = written["judges"] | {named: {"files": files}}
    with pytest.raises(UserError, match="could be taken for a published"):
        read_metrics(written, "here")
