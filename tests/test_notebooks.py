"""The notebooks run from top to bottom and are stored without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient

from imagen.places import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

SMALL = {
    "STEPS = 16": "STEPS = 2",
    "WEIGHTS = [1, 1.5, 2, 4, 8]": "WEIGHTS = [1, 4]",
    "COUNT = 64": "COUNT = 12",
    "metrics.reference.count=256": "metrics.reference.count=96",
    "max_steps=120": "max_steps=12",
}
"""What notebooks say, and what they are run with."""


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for said, small in SMALL.items():
            cell.source = cell.source.replace(said, small)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_every_notebook_is_shown_in_the_docs():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS if f"- notebooks/{path.name}" not in menu] == []


def test_the_site_has_the_notebooks_and_the_links_to_them(monkeypatch):
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(ROOT / "notebooks"))
    from in_the_docs import on_files, on_page_markdown
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

    files = on_files(Files([]), MkDocsConfig())
    assert [file.src_uri for file in files] == [f"notebooks/{path.name}" for path in NOTEBOOKS]
    links = "[a](../notebooks/a.ipynb) [b](../../notebooks/b.ipynb) [c](../notes.md)"
    assert on_page_markdown(links) == "[a](notebooks/a.ipynb) [b](../notebooks/b.ipynb) [c](../notes.md)"
