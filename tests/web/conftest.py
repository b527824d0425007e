"""One server and one cascade for all tests of a process."""

from pathlib import Path

import pytest
from small_stages import export_readers_of_shapes_t5
from started_page import started

from imagen import TextToImage


@pytest.fixture(scope="session")
def web_root(tmp_path_factory):
    """A place with one finished run, `small`: 8 → 16 pixels."""
    root = tmp_path_factory.mktemp("web")
    for folder in export_readers_of_shapes_t5(root / "exported"):
        run = root / "runs" / Path(folder).name / "small"
        run.mkdir(parents=True)
        Path(folder).rename(run / "export")
    (root / "exported").rmdir()
    return root


@pytest.fixture(scope="session")
def stages(web_root):
    return [web_root / "runs" / role / "small" / "export" for role in ("base", "sr1")]


@pytest.fixture(scope="session")
def model(stages):
    """The same cascade, as the library loads it."""
    return TextToImage.load(*stages, device="cpu")


@pytest.fixture(scope="session")
def server(web_root, tmp_path_factory):
    with started(web_root, tmp_path_factory.mktemp("home")) as one:
        yield one
