"""Find the newest finished stages of a cascade."""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from imagen.checks.names import is_name, printable
from imagen.errors import UserError
from imagen.stages.export import CONFIG, StageDescription, read_description

log = logging.getLogger(__name__)


def find_stages(runs: Path, shipped: Path, names: list[str] | None = None) -> list[Path]:
    """The newest finished stages that fit together, smallest first; the shipped ones if nothing was trained.

    Args:
        runs: folder of runs.
        shipped: folder with a sub-folder for each shipped stage.
        names: of the runs to take the stages from; None takes the newest of each role.

    Raises:
        UserError: if `names` are given and hold no finished base stage, or a run that is not used.
    """
    trained = _exports(runs, names)
    if "base" in trained:
        chain = _fitting(trained)
        if names is not None:
            _refuse_unused(names, trained, chain, runs)
        return chain
    if names is not None:
        raise UserError(
            f"cascade.runs={names}: no finished base stage at {runs}/base/<name>/export; train one with "
            f"python train.py stage=base name={names[0] if names else 'default'}"
        )
    return _fitting({folder.name: [folder] for folder in sorted(shipped.iterdir()) if (folder / CONFIG).is_file()})


def finished_cascades(runs: Path) -> list[list[Path]]:
    """For each finished base stage, newest first, its folder and those of the stages behind it: runs of the same name
    where they fit, else the newest that do. A damaged export is left out, with a warning."""
    readable: dict[str, list[Path]] = {}
    for config in sorted(runs.glob(f"*/*/export/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            readable.setdefault(read_description(config.parent).name, []).append(config.parent)
        except UserError as error:
            log.warning("%s is skipped: %s", printable(str(config.parent)), printable(str(error)))
    chains = []
    for base in readable.get("base", ()):
        name = base.parent.name
        first = {role: sorted(folders, key=lambda it: it.parent.name != name) for role, folders in readable.items()}
        chains.append(_fitting(first | {"base": [base]}))
    return chains


def _refuse_unused(names: list[str], trained: dict[str, list[Path]], chain: list[Path], runs: Path) -> None:
    """Raise UserError for a run that was named and is not part of the cascade."""
    for role, folders in trained.items():
        folder = folders[0]
        if role not in {read_description(used).name for used in chain}:
            raise UserError(
                f"cascade.runs={names}: {folder} does not fit behind {chain[-1]}; name runs of one cascade, or give "
                "the stages themselves in cascade.stages"
            )
    used = {folder.parent.name for folder in chain}
    for name in names:
        if name not in used:
            raise UserError(
                f"cascade.runs={names}: {runs}/<stage>/{name}/export is missing, or another of these runs has a newer "
                "export of the same stage; correct the name, or leave it out"
            )


def _exports(runs: Path, names: list[str] | None) -> dict[str, list[Path]]:
    """Exported stages by role, newest first."""
    exports: dict[str, list[Path]] = {}
    for config in sorted(runs.glob(f"*/*/export/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True):
        run = config.parents[1]
        if not is_name(run.name):
            log.warning("%s is skipped: its name is no name for a run; rename the folder", printable(str(run)))
        elif names is None or run.name in names:
            exports.setdefault(read_description(config.parent).name, []).append(config.parent)
    return exports


def _fitting(exports: dict[str, list[Path]]) -> list[Path]:
    """The newest base stage, then the newest sr1 and sr2 that enlarge the output of the one before and read the same
    text, as far as there are such stages. Before an unCLIP decoder the newest prior that gives what it reads."""
    chain: list[Path] = []
    below: StageDescription | None = None
    for name in ("base", "sr1", "sr2"):
        for folder in exports.get(name, ()):
            this = read_description(folder)
            if below is None or (this.low_resolution, this.text) == (below.resolution, below.text):
                chain.append(folder)
                below = this
                break
        else:
            break
    return [*_prior(exports.get("prior", ()), chain), *chain]


def _prior(priors: Sequence[Path], chain: Sequence[Path]) -> list[Path]:
    """The first of `priors` that gives what the first stage of `chain` reads; none if it reads no embedding."""
    if not chain or (base := read_description(chain[0])).clip is None:
        return []
    fitting = (folder for folder in priors if _same_clip(read_description(folder), base))
    return list(islice(fitting, 1))


def _same_clip(one: StageDescription, other: StageDescription) -> bool:
    return (one.clip, one.text) == (other.clip, other.text)
