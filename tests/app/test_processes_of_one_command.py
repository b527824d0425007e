"""`evaluate.py processes=2` writes the same files as one process."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from small_stages import export_readers_of_shapes_t5

from imagen.app.evaluate import evaluate
from imagen.files import read_tensors
from imagen.sampling.processes import helping_processes

SMALL = [
    "sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu", "guidance.weights=[1,3]",
    "prompts.count=12", "block_size=2", "metrics.reference.count=40", "grid_prompts=1", "~metrics.judges.b",
]  # fmt: skip


def files(folder):
    """Their bytes without what is measured with a clock, and must be there."""
    kept = ["results.json", "sweep.csv", "blocks/**/*.safetensors"]
    return {str(path.relative_to(folder)): untimed(path) for pattern in kept for path in folder.glob(pattern)}


def untimed(path):
    if path.suffix == ".json":
        results = json.loads(path.read_text())
        for cell in results["cells"]:
            assert cell.pop("seconds_per_picture") > 0
            assert cell.pop("sampled_on")
        return json.dumps(results)
    if path.suffix == ".safetensors" and path.parent.name.startswith("dynamic"):
        metadata, tensors = read_tensors(path)
        header = json.loads(metadata["block"])
        assert all(seconds > 0 for seconds, *_ in header.pop("timings"))
        return save(tensors, {"block": json.dumps(header)})
    return path.read_bytes()


@pytest.mark.slow
def test_two_processes_of_one_command_leave_the_files_of_one(compose_config, tmp_path, monkeypatch):
    monkeypatch.setattr("imagen.evaluation.report.report.plot_pareto", lambda results, path: None)
    monkeypatch.setattr("imagen.evaluation.report.report.plot_metrics", lambda results, path: None)
    stages = export_readers_of_shapes_t5(tmp_path / "stages")
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        cascade = f"cascade.stages=[{','.join(stages)}]"
        evaluate(compose_config("evaluate", *SMALL, cascade, f"out={out}", f"processes={processes}"))
    one, two = files(tmp_path / "out1"), files(tmp_path / "out2")
    assert len(one) == 2 + 6 * (2 + 2)  # blocks of two cells and of two controls
    assert two == one


def test_the_report_is_computed_on_all_threads_and_a_mistake_in_it_ends_the_other_processes(compose_config, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    config = compose_config("evaluate", "processes=2", f"out={tmp_path}/out")

    def report() -> None:
        with helping_processes(config):
            assert torch.get_num_threads() == 2
            raise ValueError("mistake")

    try:
        with pytest.raises(ValueError, match="mistake"):
            report()
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    for child in multiprocessing.active_children():
        child.join(60)
        assert child.exitcode is not None


def test_a_killed_command_leaves_no_process_behind(compose_config, tmp_path):
    config = compose_config("evaluate", "processes=2", f"out={tmp_path}/out")
    said = tmp_path / "helper"

    def command() -> None:
        with helping_processes(config):
            said.write_text(str(multiprocessing.active_children()[0].pid))
            time.sleep(600)

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    wait_for(said.exists)
    helper = int(said.read_text())
    assert is_running(helper)
    time.sleep(5)  # until it has begun
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait_for(lambda: not is_running(helper))


def is_running(process: int) -> bool:
    """Whether it is there and not only waiting to be taken away."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(what, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)
