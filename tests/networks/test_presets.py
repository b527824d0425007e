"""The networks in conf/stage/network."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from sizes import PAPER, PRESETS, RESOLUTIONS, build, row  # noqa: E402


def test_every_u_net_is_listed() -> None:
    assert {path.stem for path in PRESETS.glob("*.yaml")} - {"prior_tiny"} == set(RESOLUTIONS)


@pytest.mark.parametrize("preset", PAPER)
def test_paper_presets_have_about_the_published_number_of_parameters(preset: str) -> None:
    millions = sum(parameter.numel() for parameter in build(preset).parameters()) / 1e6
    print(f"{preset}: {millions:.0f} M, published {PAPER[preset]} M")
    assert 0.75 <= millions / PAPER[preset] <= 1.25


@pytest.mark.parametrize("preset", RESOLUTIONS)
def test_documentation_has_the_size_of_every_preset(preset: str) -> None:
    assert row(preset) in (ROOT / "docs" / "reference" / "networks.md").read_text()
