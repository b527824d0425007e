"""README and docs/: short, narrow, no broken link or anchor; every command composes, and the code of the idea runs."""

import re
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from imagen.commandline.arguments import as_hydra_reads_them
from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.parameterisations import VPrediction
from imagen.diffusion.samplers import DDIMSampler, level_of
from imagen.diffusion.schedules import CosineSchedule
from imagen.diffusion.thresholding import DynamicThresholding

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(
    [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
GENERATED = {ROOT / "docs" / "reference" / "malformed.md", *(ROOT / "docs" / "results" / "ablations").glob("*.md")}
"""Tables written by a test and by `imagen ablation`, whose cells are as long as what they quote."""

LINK = re.compile(r"\[[^]\[]*]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")
ENTRY_POINTS = ("train.py", "sample.py", "evaluate.py")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def without_code(page: Path) -> str:
    """The page without blocks of code, fenced or indented, and without `code`."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    return re.sub(r"`[^`\n]*`", "", "\n".join(lines))


@cache
def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as Python-Markdown and GitHub call them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading)).strip() for heading in headings]
    return {re.sub(r"[-\s]+", "-", word.lower()) for word in words}


def test_readme_has_at_most_800_words():
    assert len(README.read_text(encoding="utf-8").split()) <= 800


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=named)
def test_no_line_is_longer_than_100_columns(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(without_code(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{target} of {named(page)} does not exist"
        if anchor and path.suffix == ".md" and "::: " not in path.read_text(encoding="utf-8"):
            assert anchor in anchors(path), f"{target}#{anchor} of {named(page)}: no such heading"


def test_every_page_of_the_docs_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert [page for page in pages if page not in menu] == []


def commands(page: Path) -> list[str]:
    """The calls of the three entry points in a page's blocks of code, their continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [line for line in text.splitlines() if line.startswith(("    ", "python "))]
    calls = [re.sub(r"\s# .*$", "", line).strip() for line in blocks]
    ours = [call for call in calls if re.match(r"python (train|sample|evaluate)\.py\b", call)]
    return [call for call in ours if "--config-dir" not in call]  # which names files of the reader


CALLS = [(page, call) for page in PAGES for call in commands(page)]


def test_the_pages_have_commands():
    assert len(CALLS) > 40


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{named(page)}: {call}" for page, call in CALLS])
def test_the_configuration_of_every_command_composes(page, call):
    _, entry, *arguments = shlex.split(call)
    overrides = as_hydra_reads_them(arguments, Path(entry).stem)
    if overrides[:1] == ["-m"]:  # the first job of a multirun
        overrides = [override.split(",")[0] for override in overrides[1:]]
    overrides = [override for override in overrides if not override.startswith("--")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose(Path(entry).stem, overrides=overrides)


def files_named(page: Path) -> list[str]:
    folders = "tests|conf|benchmarks|assets|src|notebooks"
    return re.findall(rf"\b((?:{folders})/[\w/.-]*\w)`", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_a_page_names_exist(page):
    assert [file for file in files_named(page) if not (ROOT / file).exists()] == []
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named_tests = re.findall(r"`(test_\w+\.py)`", page.read_text(encoding="utf-8"))
    assert [test for test in named_tests if test not in tests] == []


def test_the_idea_in_the_readme_is_what_the_project_computes():
    """The block of code under "The idea", run on a made-up network, against `DDIMSampler` and guidance."""
    text = README.read_text(encoding="utf-8")
    (idea,) = re.findall(r"^```python\n(def denoiser.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len([line for line in idea.splitlines() if line]) <= 15
    conditioning = Conditioning(text=TextSignal(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)))
    parameterisation, thresholding = VPrediction(), DynamicThresholding()

    def network(z, log_snr, conditioning):
        text = conditioning["text"].values.mean((1, 2))
        return 0.3 * z + (text - 0.05 * log_snr)[:, None, None, None]

    names = {"network": network, "parameterisation": parameterisation, "thresholding": thresholding}
    names |= {"pairwise": pairwise}
    exec(idea, names)
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sampler, schedule, guidance = DDIMSampler(5), CosineSchedule(), ClassifierFreeGuidance(3.0)
    levels = [level_of(noise, log_snr) for log_snr in sampler.log_snrs(schedule)]

    def denoise(z, level):
        return thresholding(guidance(names["denoiser"], z, level, conditioning))

    expected = sampler(denoise, schedule, noise, [torch.Generator()] * 2)
    actual = names["sample"](noise, levels, conditioning, 3.0)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert (expected - names["sample"](noise, levels, conditioning, 1.0)).abs().max() > 0.1
