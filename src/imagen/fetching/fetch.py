"""Fetches a model of the lock file. Every file is there with the right sha256, or not at all."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagen.checks.arguments import fits
from imagen.checks.foreign import read_json
from imagen.errors import UserError
from imagen.fetching.download import ForbiddenError, Network, download
from imagen.fetching.lock import LockedFile, PublishedModel
from imagen.files import publish, sha256_of_file, write_atomically

TRUSTED = "fetched.lock"
"""The user's own lock file, in the models folder: hashes of files that the shipped lock file does not state."""


@dataclass(frozen=True)
class Origin:
    """Where files come from: the network, or a local folder that holds `<id>/<name>` or `<name>`."""

    network: Network
    local: Path | None

    def obtain(self, model: PublishedModel, file: LockedFile, part: Path) -> None:
        """Put the file's content into `part`. Raises UserError if it is not available."""
        if self.local is None:
            try:
                download(file.url, part, file.bytes, self.network)
            except ForbiddenError as error:
                if model.gated is None:
                    raise
                way_in = model.way_in(part.parents[file.name.count("/") + 1])
                raise UserError(f"{model.id} is not given to everybody: {way_in}", environment=True) from error
            return
        candidates = [self.local / model.id / file.name, self.local / file.name]
        copy = next((path for path in candidates if path.is_file()), None)
        if copy is None:
            raise UserError(f"{self.local} holds neither {model.id}/{file.name} nor {file.name}; correct --from")
        part.unlink(missing_ok=True)  # it may be a link to another file
        shutil.copyfile(copy, part)


def fetch(model: PublishedModel, models: Path, origin: Origin, trust_on_first_use: bool) -> Path:
    """Fetch and verify every file of `model`. Returns its folder below `models`.

    A file gets its name only after its hash is verified. If neither the lock file nor `fetched.lock` states a hash,
    nothing is fetched without `trust_on_first_use`; with it, the hash of what arrives is printed, recorded and required
    from then on.

    Raises:
        UserError: if a hash is unknown or wrong, a file is not available, or the disk is full.
    """
    folder = models / model.id
    trusted = read_trusted(models)
    unknown = [file.name for file in model.files if _expected(model, file, trusted) is None]
    if unknown and not trust_on_first_use:
        raise UserError(
            f"{model.id}: the sha256 of {', '.join(unknown)} is not known here; --trust-on-first-use accepts what "
            f"the server sends, prints its hash and records it in {models / TRUSTED}: compare it with a trusted one"
        )
    for file in model.files:
        target = folder / file.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write {target.parent}: {error.strerror}; choose another folder with --to", environment=True
            ) from error
        _fetch_file(model, file, target, origin, trusted)
        if file.sha256 is None:
            _write_trusted(models, trusted)
    return folder


def _fetch_file(model: PublishedModel, file: LockedFile, target: Path, origin: Origin, trusted: dict[str, str]) -> None:
    part = target.with_name(f"{target.name}.part")
    present = target.is_file()
    if not present:
        origin.obtain(model, file, part)
    digest = sha256_of_file(target if present else part)
    expected = _expected(model, file, trusted)
    if expected is None:
        trusted[f"{model.id}/{file.name}"] = digest
        print(f"{model.id}/{file.name}: sha256 {digest}, trusted on first use", file=sys.stderr)
    elif digest != expected:
        if not present:
            part.unlink()  # resuming cannot turn it into the right file
        raise UserError(
            f"{target if present else file.url}: sha256 is {digest}, expected {expected}; "
            + ("delete the file and fetch it again" if present else "it was deleted; try again, or another --mirror"),
            environment=True,
        )
    if not present:
        publish(part, target)
    print(f"{model.id}/{file.name}: {'already there' if present else 'fetched'}, sha256 verified", file=sys.stderr)


def read_trusted(models: Path) -> dict[str, str]:
    """The user's own hashes by `<id>/<name>`; empty if there is no such file. Raises UserError if it is damaged."""
    path = models / TRUSTED
    way_out = "repair it, or delete it to trust anew"
    try:
        hashes = read_json(path, way_out)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); {way_out}") from error
    if not fits(hashes, dict[str, str]):
        raise UserError(f"{path} cannot be read (names and their sha256 are expected); {way_out}")
    return hashes


def _write_trusted(models: Path, trusted: Mapping[str, str]) -> None:
    write_atomically(models / TRUSTED, (json.dumps(trusted, indent=1, sort_keys=True) + "\n").encode())


def _expected(model: PublishedModel, file: LockedFile, trusted: Mapping[str, str]) -> str | None:
    return file.sha256 or trusted.get(f"{model.id}/{file.name}")
