"""The cascades of this machine: which there are, and the few that are kept in memory."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.files import root
from imagen.runs.find import finished_cascades
from imagen.sampling.command import hydra_value, shown_path
from imagen.sampling.loading import stage_folders
from imagen.sampling.opening import open_model
from imagen.sampling.text_to_image import TextToImage
from imagen.stages.export import CONFIG, read_description
from imagen.web.composing import Defaults, composed, defaults_of

KEPT = 2
"""Cascades in memory at once: those that were used last."""


@dataclass(frozen=True)
class Choice:
    """A cascade that can be chosen.

    Args:
        name: what the page calls it.
        stages: folders of its stages, smallest first.
        group: the choice of conf/cascade that brings settings of its own, such as openmoji; None: there is none.
    """

    name: str
    stages: Sequence[Path]
    group: str | None = None

    def overrides(self, shown: bool = False) -> list[str]:
        """What chooses it on the command line of sample.py; `shown`: for people, with paths from the checkout."""
        if self.group is not None:
            return [f"cascade={self.group}"]
        paths = [shown_path(path) if shown else str(path.absolute()) for path in self.stages]
        return [f"cascade.stages=[{','.join(map(hydra_value, paths))}]"]

    @property
    def defaults(self) -> Defaults:
        return defaults_of(tuple(self.overrides()))

    @property
    def enlarging(self) -> list[str]:
        """Names of the stages that enlarge a picture."""
        described = map(read_description, self.stages)
        return [stage.name for stage in described if stage.low_resolution is not None]


def choices(folders: Sequence[Path] = ()) -> list[Choice]:
    """The runs that are finished, newest first; then `folders` of exported stages; then what is shipped.

    Raises:
        UserError: for a folder without an exported stage, and where there is no cascade at all.
    """
    found = [Choice(f"run {chain[0].parent.name}", chain) for chain in finished_cascades(root() / "runs")]
    found += [Choice(f"folder {folder}", stage_folders(folder)) for folder in folders]
    for name, group in (("cascade", None), ("openmoji", "openmoji")):
        folder = root() / "assets" / name
        if (folder / "base" / CONFIG).is_file():
            found.append(Choice(f"shipped {'shapes' if group is None else name}", stage_folders(folder), group))
    if not found:
        raise UserError(
            f"no finished run below {root() / 'runs'} and nothing shipped: train one with python train.py stage=base, "
            "or give the folder of exported stages: imagen web FOLDER"
        )
    return [_named(choice) for choice in found]


def _named(choice: Choice) -> Choice:
    """With the sizes of its pictures in the name."""
    sizes = [read_description(folder).resolution for folder in choice.stages]
    drawn = " → ".join(str(size) for size in sizes if size > 1)  # 1: a prior's vector
    return Choice(printable(f"{choice.name}: {drawn}"), choice.stages, choice.group)


class Cascades:
    """The cascades to choose from, found anew whenever the page is loaded. Not for several threads at once."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = folders
        self._open: OrderedDict[tuple[object, ...], TextToImage] = OrderedDict()
        choices(folders)  # a mistake is told at the start

    @property
    def choices(self) -> dict[str, Choice]:
        return {choice.name: choice for choice in choices(self._folders)}

    def choice(self, name: str) -> Choice:
        """Raises UserError for a name that is not among them."""
        found = self.choices
        if name not in found:
            raise UserError(f"cascade {name!r:.120} is not on this machine; choose one of {', '.join(found)}")
        return found[name]

    def model(self, choice: Choice) -> TextToImage:
        """Loads the cascade unless it is in memory, and its stages are still the same files."""
        key = (choice.name, *(_written(folder) for folder in choice.stages))
        if key not in self._open:
            while len(self._open) >= KEPT:
                self._open.popitem(last=False)
            self._open[key] = open_model(composed(choice.overrides()))
        self._open.move_to_end(key)
        return self._open[key]


def _written(folder: Path) -> tuple[str, int]:
    return str(folder), (folder / CONFIG).stat().st_mtime_ns
