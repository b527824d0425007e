"""Compose the real configuration, small enough for a test."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hydra import compose, initialize_config_dir
from installed_browser import browser as browser
from object_storage import Storage, s3_server
from omegaconf import DictConfig
from type_checks import begin_again

from imagen.commandline.command import prepare_environment
from imagen.places import ROOT

SLOW = 10.0  # seconds of processor time, of the test and the processes that it started


def processor_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    begin_again()
    before = processor_seconds()
    yield
    item.user_properties.append(("processor_seconds", processor_seconds() - before))


def pytest_terminal_summary(terminalreporter):
    """The slow tests that `make quick` would not leave out."""
    reports = [report for report in terminalreporter.stats.get("passed", []) if "slow" not in report.keywords]
    seconds = Counter({report.nodeid: dict(report.user_properties).get("processor_seconds", 0) for report in reports})
    for name, taken in seconds.most_common():
        if taken > SLOW:
            terminalreporter.write_line(f"{taken:.0f} s of processor time, to be marked slow: {name}")


@pytest.fixture(scope="session", autouse=True)
def environment():
    prepare_environment()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # One thread each, here and in the processes that tests start: sums of more depend on how many there are, and pytest
    # runs one worker for each core.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture
def compose_config(tmp_path):
    """compose_config("train", "stage=sr1") with runs, cache and outputs below the test's own folder."""

    def composed(entry: str, *overrides: str) -> DictConfig:
        paths = [f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose(entry, overrides=[*paths, *overrides], return_hydra_config=False)

    return composed


@pytest.fixture(scope="session")
def storage(tmp_path_factory) -> Iterator[Storage]:
    """An S3 server on this machine, for who has the packages of the extra `remote`. One for all tests: `fsspec`
    keeps the connections of the first that it has seen."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with s3_server(tmp_path_factory.mktemp("storage") / "log") as server:
        yield server
