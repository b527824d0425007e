"""The command that samples from a stage, whole, for its model card: with the stages below it and its text encoder."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.places import ROOT
from imagen.stages.export import CONFIG, StageDescription, read_description

ROLES = ("base", "sr1", "sr2")
PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z/][A-Za-z0-9_./-]*", re.IGNORECASE)
"""Text that Hydra takes as it stands."""

NOT_OF_SAMPLING = ("mode", "folder", "encoder.batch_size", "encoder.device", "encoder.local_files_only")
"""Keys of `text` that decide neither which encoder it is nor which vectors come out."""


def sampling_command(description: StageDescription, folder: Path, text: Mapping[str, Any], runs: Path) -> str:
    """What to paste, in the folder that holds sample.py, to sample from the stage in `folder`.

    `text` is the configuration of the text that it was trained on; stages below it are looked for in `runs`, then among
    the shipped ones. One that is not there yet is named as the run of the same name, which is to be.
    """
    stages = [*stages_below(description, folder, runs), folder]
    listed = ",".join(_value(_shown(path)) for path in stages)
    overrides = ["prompt=a red circle", f"cascade.stages=[{listed}]", *text_overrides(text)]
    return printable(f"python sample.py {shlex.join(overrides)}")


def stages_below(description: StageDescription, folder: Path, runs: Path) -> list[Path]:
    """Folders of the stages that make what the stage in `folder` enlarges, smallest first."""
    below = ROLES[: ROLES.index(description.name)] if description.name in ROLES else ()
    chain: list[Path] = []
    wanted = description.low_resolution
    for role in reversed(below):
        of_same_name = runs / role / folder.parent.name / "export"
        there = _candidates([folder.parent / role, of_same_name], runs / role, ROOT / "assets" / "cascade" / role)
        found = next(_that_fit(there, wanted, description.text), None)
        chain.insert(0, found[0] if found else of_same_name)
        wanted = found[1].low_resolution if found else None
    return chain if description.low_resolution is not None else []


def _candidates(first: Sequence[Path], runs: Path, last: Path) -> list[Path]:
    """Exported stages: of `first`, those that belong together by their places, then the newest of `runs`, then `last`,
    the shipped one."""
    others = sorted(runs.glob(f"*/export/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path for path in (*first, *(path.parent for path in others), last) if (path / CONFIG).is_file()]


def _that_fit(
    folders: list[Path], resolution: int | None, text: Mapping[str, Any] | None
) -> Iterator[tuple[Path, StageDescription]]:
    for folder in folders:
        with suppress(UserError):  # somebody's broken export is none of ours
            found = read_description(folder)
            if resolution in (None, found.resolution) and found.text == text:
                yield folder, found


def text_overrides(text: Mapping[str, Any]) -> list[str]:
    """Overrides of sample.py that make its `text` the one given: the nearest choice of conf/text, and what differs."""
    wanted = _flat(text)
    paths = OmegaConf.load(ROOT / "conf" / "paths" / "default.yaml")
    best: list[str] | None = None
    for file in sorted((ROOT / "conf" / "text").glob("*.yaml")):
        choice = OmegaConf.to_container(OmegaConf.create({"paths": paths, "text": OmegaConf.load(file)}), resolve=True)
        offered = _flat(choice["text"])
        if offered.keys() != wanted.keys() or any(offered[key] != wanted[key] for key in wanted if "_target_" in key):
            continue
        differing = [f"text.{key}={_value(wanted[key])}" for key in wanted if offered[key] != wanted[key]]
        if best is None or len(differing) < len(best) - 1:
            best = [f"text={file.stem}", *differing]
    return best or []


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of `text`, as far as sampling reads them."""
    flat: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{key}.")
        elif key not in NOT_OF_SAMPLING:
            flat[key] = value
    return flat


def _shown(folder: Path) -> str:
    """As a path from the folder that holds sample.py, where it lies below that."""
    folder = folder.absolute()
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)


def _value(value: Any) -> str:
    """In Hydra's grammar of overrides."""
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
