"""The command that samples from a stage, for its model card: with the stages below it."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.places import ROOT
from imagen.stages.export import CONFIG, StageDescription, read_description

PRIOR = "prior"
ROLES = ("base", "sr1", "sr2")
"""The stages that make pictures. The prior gives the first one what it reads."""

PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z/][A-Za-z0-9_./-]*", re.IGNORECASE)
"""Text that Hydra takes as it stands."""


def sampling_command(description: StageDescription, folder: Path, runs: Path) -> str:
    """The command, to be run in the folder that holds sample.py, that samples from the stage in `folder`.

    Stages below it are looked for in `runs`, then among the shipped ones. One that is missing is named as the run of
    the same name, which is still to be trained.
    """
    stages = _with_prior([*stages_below(description, folder, runs), folder], description, runs)
    listed = ",".join(hydra_value(shown_path(path)) for path in stages)
    overrides = ["prompt=a red circle", f"cascade.stages=[{listed}]"]
    below = [read_description(path) for path in stages[:-1] if (path / CONFIG).is_file()]
    for stage in (*below, description):
        overrides += stage.made_for.overrides(stage.name) if stage.made_for else []
    return printable(f"python sample.py {shlex.join(overrides)}")


def _with_prior(stages: list[Path], description: StageDescription, runs: Path) -> list[Path]:
    """The `stages` of a cascade, of which `description` is the last: with the prior that an unCLIP decoder needs, and
    with a decoder behind a prior. Of several runs that fit the one of the same name, else the newest."""
    name = stages[-1].parent.name
    if description.name == PRIOR:
        return [*stages, _of_same_clip(ROLES[0], name, description, runs)]
    first = description if len(stages) == 1 else _described(stages[0])
    return stages if first is None or first.clip is None else [_of_same_clip(PRIOR, name, first, runs), *stages]


def _of_same_clip(role: str, name: str, stage: StageDescription, runs: Path) -> Path:
    of_same_name = runs / role / name / "export"
    for folder in _candidates([of_same_name], runs / role, of_same_name):
        found = _described(folder)
        if found is not None and (found.clip, found.text) == (stage.clip, stage.text):
            return folder
    return of_same_name


def _described(folder: Path) -> StageDescription | None:
    with suppress(UserError):
        return read_description(folder)
    return None


def stages_below(description: StageDescription, folder: Path, runs: Path) -> list[Path]:
    """Folders of the stages that make what the stage in `folder` enlarges, smallest first."""
    below = ROLES[: ROLES.index(description.name)] if description.name in ROLES else ()
    chain: list[Path] = []
    wanted = description.low_resolution
    for role in reversed(below):
        of_same_name = runs / role / folder.parent.name / "export"
        candidates = _candidates([folder.parent / role, of_same_name], runs / role, ROOT / "assets" / "cascade" / role)
        match = next(_fitting(candidates, wanted, description.text), None)
        chain.insert(0, match[0] if match else of_same_name)
        wanted = match[1].low_resolution if match else None
    return chain if description.low_resolution is not None else []


def _candidates(first: Sequence[Path], runs: Path, last: Path) -> list[Path]:
    """Folders with an exported stage, in the order they are tried: `first`, the newest of `runs`, `last` (shipped)."""
    others = sorted(runs.glob(f"*/export/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path for path in (*first, *(path.parent for path in others), last) if (path / CONFIG).is_file()]


def _fitting(
    folders: list[Path], resolution: int | None, text: Mapping[str, Any] | None
) -> Iterator[tuple[Path, StageDescription]]:
    for folder in folders:
        with suppress(UserError):  # a broken export of another run does not matter here
            stage = read_description(folder)
            if resolution in (None, stage.resolution) and stage.text == text:
                yield folder, stage


def shown_path(folder: Path) -> str:
    """As a path from the folder that holds sample.py, where it lies below that."""
    folder = folder.absolute()
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)


def hydra_value(text: str) -> str:
    """In Hydra's grammar of overrides."""
    return text if PLAIN.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
