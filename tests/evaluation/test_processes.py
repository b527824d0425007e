"""Several processes, and killed ones, write the same files as one uninterrupted process."""

import multiprocessing
import os
import signal
from typing import ClassVar

import pytest
import torch

from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.judges.checker import ShapesChecker
from imagen.evaluation.judges.extractor import Extractor
from imagen.evaluation.prompts.prompt_set import shapes_prompts
from imagen.evaluation.report.report import as_csv, as_json
from imagen.evaluation.sweep.reference import ShapesReference
from imagen.files import write_json, write_text
from imagen.locks import hold

from .stand_ins import DrawingSampler, plan, ticks
from .test_sweep import files

FORK = multiprocessing.get_context("fork")


class MeanColour(Extractor):
    """Needs no network, so a forked process uses it at once."""

    name = "colour"
    fidelity_key = "fd[colour]"
    identity: ClassVar = {"class": "mean colour"}

    def image_features(self, pixels):
        return pixels.float().mean(dim=(1, 2)) / 255


def evaluate(out, sampler_of=DrawingSampler):
    prompts = shapes_prompts(count=12, seed=5)
    Evaluation([MeanColour()], ShapesChecker(), prompts, ShapesReference(20, 77), out, 4, 0, 2).run(
        plan(sampler_of(prompts), [1, 2, 4])
    )


def only_numbers(results, out):
    """Plots and the TensorBoard log have their own tests."""
    write_json(as_json(results), out / "results.json")
    write_text(as_csv(results), out / "sweep.csv")


def in_a_process(target, *arguments):
    def run():
        torch.set_num_threads(1)  # the threads of the parent did not survive the fork
        target(*arguments)

    process = FORK.Process(target=run)
    process.start()
    return process


class Killed(DrawingSampler):
    """Dies at its second block, while it samples or while the block is written."""

    def __init__(self, prompts, while_writing):
        super().__init__(prompts)
        self.while_writing = while_writing

    def __call__(self, *arguments, **options):
        if len(self.made) >= 4 and not self.while_writing:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.made) >= 4:
            os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(*arguments, **options)


def killed_at_the_second_block(out, while_writing):
    evaluate(out, lambda prompts: Killed(prompts, while_writing))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imagen.evaluation.report.report.write_report", only_numbers)
        patch.setattr("imagen.evaluation.sweep.sweep.perf_counter", ticks().__next__)
        evaluate(out)
    return numbers(out)


def numbers(out):
    return {name: data for name, data in files(out).items() if not name.startswith(("timing", "locks"))}


@pytest.fixture(autouse=True)
def _numbers_only(monkeypatch, steady_clock):
    """Seconds are measured, so all blocks take equally long here."""
    monkeypatch.setattr("imagen.evaluation.report.report.write_report", only_numbers)


def test_ten_kills_lose_nothing_and_change_nothing(tmp_path, undisturbed):
    for kill in range(10):
        process = in_a_process(killed_at_the_second_block, tmp_path, kill % 2 == 1)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        whole = [path for path in tmp_path.rglob("block-*.safetensors") if not path.name.startswith(".")]
        assert len(whole) == kill + 1
    evaluate(tmp_path)
    assert numbers(tmp_path) == undisturbed


def test_two_processes_make_every_block_once_and_the_files_of_one(tmp_path, undisturbed):
    log = tmp_path / "made"

    class Logged(DrawingSampler):
        def __call__(self, label, captions, picture_ids, guidance_weight):
            with log.open("a") as file:
                file.write(f"{label} {guidance_weight} {picture_ids}\n")
            return super().__call__(label, captions, picture_ids, guidance_weight)

    processes = [in_a_process(evaluate, tmp_path / "out", Logged) for _ in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    made = log.read_text().splitlines()
    assert len(made) == len(set(made)) == 6 * 3
    assert numbers(tmp_path / "out") == undisturbed


def test_a_block_that_another_process_holds_is_left_to_it_until_it_dies(tmp_path):
    ready = FORK.Event()

    def keep():
        with hold(tmp_path / "block", wait=True):
            ready.set()
            signal.pause()

    process = in_a_process(keep)
    assert ready.wait(60)
    with hold(tmp_path / "block", wait=False) as held:
        assert not held
    process.kill()
    with hold(tmp_path / "block", wait=True) as held:
        assert held
    process.join(60)
