"""The text source of trained stages, built from what they record: nobody has to name the text encoder again.

Records come with weights, so they may be a stranger's. They pass the gate for such configuration, open no connection
and write nothing. A path in one is only ever read as the folder of a model, by the names that its files have; these
are hashed, and loaded only if they are the files that the stage was trained on.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.instantiation import as_dict, instantiate
from imagen.places import ROOT
from imagen.published.folder import is_published
from imagen.runs.saved_config import saved_sections
from imagen.stages.export import CONFIG, StageDescription
from imagen.text.record import (
    WHEN_SAMPLING,
    build_source,
    differences,
    for_sampling,
    name_of,
    path_in,
    places_of,
    with_path,
)
from imagen.text.sources import TextSource

log = logging.getLogger(__name__)


def open_text(
    choice: Mapping[str, Any],
    folders: Sequence[Path],
    stages: Sequence[StageDescription],
    say: Callable[[str], None] = log.info,
) -> TextSource:
    """The text source that `stages`, smallest first, were trained on; `folders` are where they were read from.

    Args:
        choice: the resolved `text` section of sample.py. One that describes a text source is held to the fingerprint
            of the stages. One without a `_target_` (`text=stage`) leaves the encoder to the stages; `encoder.path` in
            it says where the encoder's files are, and `encoder.device` where it runs.
        say: called with one line, which encoder was taken and who named it.

    Raises:
        UserError: if it is another text source, its files are not on this machine, or a record cannot be used.
    """
    if "_target_" in choice:
        return _chosen(choice, folders[0], stages[0])
    if not stages[0].text:
        raise UserError(f"{folders[0]} does not say which text it was trained on; export the stage again")
    encoder = choice.get("encoder") or {}
    search = _Search(folders[0], stages[0], encoder.get("path"), encoder.get("device") or "auto", say)
    for record in [*_recorded(folders, stages)] or _of_runs(folders):
        if (source := search.try_record(record)) is not None:
            return source
    return search.among_choices()


def _chosen(choice: Mapping[str, Any], folder: Path, stage: StageDescription) -> TextSource:
    """The text source that the user named. A few captions need no cache."""
    changes: dict[str, Any] = {"mode": "online"} if "mode" in choice else {}
    if "batch_size" in choice.get("encoder", {}):
        changes["encoder"] = {"batch_size": 1}  # as in `WHEN_SAMPLING`
    source: TextSource = instantiate(choice, **changes)
    if source.fingerprint != stage.text:
        raise UserError(
            f"{folder} was trained on another text encoder than text= names "
            f"({differences(stage.text, source.fingerprint)}): leave text= out, since stages know theirs, or take "
            "other stages with cascade.runs=[...]"
        )
    return source


@dataclass(frozen=True)
class Record:
    """A `text` section, and the file that it stands in."""

    section: dict[str, Any]
    origin: str


def _recorded(folders: Sequence[Path], stages: Sequence[StageDescription]) -> Iterator[Record]:
    """What the stages record; the same only once."""
    seen = []
    for folder, stage in zip(folders, stages, strict=False):  # a cascade may stop before its last folder
        if stage.text_source is not None and stage.text_source not in seen:
            seen.append(stage.text_source)
            place = str(folder) if is_published(folder) else f"{folder / CONFIG}: text_source"
            yield Record(for_sampling(stage.text_source), place)


def _of_runs(folders: Sequence[Path]) -> Iterator[Record]:
    """For exports of format version 1: the configurations of the runs that they lie in."""
    for folder in folders:
        path = folder.parent / "config.yaml"
        with suppress(UserError, OSError):  # there need be none, and it may be another program's
            section = as_dict(saved_sections(path).text, resolve=False)
            yield Record(for_sampling(section), f"{path}: text")


def _choices(stage: StageDescription, any_width: bool) -> Iterator[Record]:
    """Candidates from conf/text, with settings from the fingerprint. Only those of the network's text width, unless
    `any_width`."""
    if not (ROOT / "conf" / "text").is_dir():  # the package was installed without a checkout
        return
    paths = OmegaConf.load(ROOT / "conf" / "paths" / "default.yaml")
    paths.root = str(ROOT)
    width, text = _width(stage), stage.text or {}
    for file in sorted((ROOT / "conf" / "text").glob("*.yaml")):
        config = OmegaConf.create({"paths": paths, "text": OmegaConf.load(file)})
        section: dict[str, Any] = as_dict(config)["text"]
        if "_target_" not in section or not _settings(section) <= text.keys():
            continue
        if any_width or "features" in text or width in (None, section["features"]):
            yield Record(for_sampling(_as_trained(section, text, width)), f"conf/text/{file.name}")


def _settings(section: Mapping[str, Any]) -> set[str]:
    """The keys of an encoder's settings, which a fingerprint has too; of a source without an encoder, its own."""
    encoder = section.get("encoder", {"features": section["features"]})
    return {name for name in encoder if name not in ("_target_", "path", *WHEN_SAMPLING)}


def _as_trained(section: dict[str, Any], text: Mapping[str, Any], width: int | None) -> dict[str, Any]:
    """`section` with the settings in the fingerprint `text`."""
    section = section | {"features": text.get("features", width or section["features"])}
    if "encoder" not in section:
        return section
    settings = {name: text[name] for name in _settings(section)}
    if settings.get("revision") == "none":  # how a fingerprint spells that there is none
        settings["revision"] = None
    return section | {"encoder": section["encoder"] | settings}


@dataclass
class _Search:
    """For the text source of `stage`, exported in `folder`; `path` is where the user says that its encoder is."""

    folder: Path
    stage: StageDescription
    path: str | None
    device: str
    say: Callable[[str], None]
    failures: list[UserError] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)

    def try_record(self, record: Record) -> TextSource | None:
        """The text source of a record, from the first place of this machine where it is the one that was trained on.

        Raises:
            UserError: for a record that describes no text source.
        """
        try:
            sections = self._placed(record.section)
        except UserError as error:
            self.failures.append(error)
            return None
        for number, section in enumerate(sections):
            key = json.dumps(section, sort_keys=True)
            if key in self.tried:
                continue
            self.tried.add(key)
            try:
                source = build_source(section, record.origin)
            except UserError as error:
                if number == 0:  # later places hold what happens to have the name
                    raise
                self.failures.append(error)
                continue
            if self._matches(source, section):
                self.say(f"text encoder: {printable(name_of(section))} ({printable(record.origin)})")
                return source
        return None

    def among_choices(self) -> TextSource:
        """The text source among the choices of conf/text. Raises UserError if it is none of them."""
        recorded = list(self.failures)
        for record in _choices(self.stage, any_width=self.path is not None):
            if (source := self.try_record(record)) is not None:
                return source
        if self.path is not None and not self.failures:
            raise UserError(
                f"text.encoder.path={self.path}: {self.folder} was trained on a text source without files; leave it out"
            )
        reasons = recorded or (self.failures if self.path is not None else [])
        if reasons and self.path is not None and reasons[0].environment:
            raise reasons[0]  # the stage has no part in a path that leads nowhere
        if reasons:
            raise UserError(f"{self.folder}: {reasons[0]}", environment=reasons[0].environment)
        described = ", ".join(f"{name} {value!s:.12}" for name, value in (self.stage.text or {}).items())
        raise UserError(
            f"{self.folder} records no text encoder, and none of conf/text on this machine is the one that it was "
            f"trained on ({described}): give its folder as text.encoder.path=FOLDER",
            environment=True,
        )

    def _placed(self, section: dict[str, Any]) -> list[dict[str, Any]]:
        """`section`, once for each place where its encoder may be."""
        recorded = path_in(section)
        if recorded is None:
            return [section] if self.path is None else []
        places = places_of(recorded) if self.path is None else [self.path]
        on_device = {"device": self.device} if "device" in section["encoder"] else {}
        return [with_path(section, place, **on_device) for place in places]

    def _matches(self, source: TextSource, section: Mapping[str, Any]) -> bool:
        """Whether it is the text source that was trained on; if not, why not goes to `failures`."""
        try:
            given = source.fingerprint
            if given != self.stage.text:
                raise UserError(
                    f"text encoder {name_of(section)} is not the one that it was trained on "
                    f"({differences(self.stage.text, given)}): say where that is with text.encoder.path=FOLDER"
                )
            width = _width(self.stage)
            if width not in (None, source.features):
                raise UserError(f"reads {width} features of text, and the encoder gives {source.features}")
        except UserError as error:
            self.failures.append(error)
            return False
        return True


def _width(stage: StageDescription) -> int | None:
    """Features of a text vector, by the configuration of the network; None where it does not say `text_features`."""
    network = stage.denoiser.get("network")
    width = network.get("text_features") if isinstance(network, Mapping) else None
    return width if isinstance(width, int) else None
