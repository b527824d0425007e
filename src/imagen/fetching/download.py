"""Downloads one file over HTTP and resumes after a break. The only module here that opens a connection."""

import fcntl
import http.client
import os
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

from imagen.errors import UserError
from imagen.fetching.lock import in_units
from imagen.files import open_lock
from imagen.progress import track

BLOCK = 1 << 20
TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True)
class Network:
    """Settings of the connection; `timeout` and `first_wait` in seconds, `tries` without progress before giving up.

    `mirror` replaces scheme and host of every address. Without `proxy` the environment's http_proxy, https_proxy and
    no_proxy apply.
    """

    mirror: str | None
    proxy: str | None
    timeout: float
    tries: int
    first_wait: float

    def address(self, url: str) -> str:
        """The address to request for `url`. Raises UserError unless it is http or https."""
        parts = urlsplit(url)
        if self.mirror:
            mirror = urlsplit(self.mirror)
            parts = parts._replace(
                scheme=mirror.scheme, netloc=mirror.netloc, path=mirror.path.rstrip("/") + parts.path
            )
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"{urlunsplit(parts)}: not an http or https address; correct --mirror or the lock file")
        return urlunsplit(parts)

    def opener(self) -> urllib.request.OpenerDirector:
        proxies = urllib.request.ProxyHandler({"http": self.proxy, "https": self.proxy} if self.proxy else None)
        return urllib.request.build_opener(proxies)


class ForbiddenError(UserError):
    """The server gives the file to those it knows only: 401 or 403."""


class _TransientError(Exception):
    """The connection failed in a way that another try may fix."""


def download(url: str, part: Path, expected: int | None, network: Network) -> None:
    """Append the missing bytes of the file at `url` to `part`. Bytes already there are not requested again.

    Args:
        expected: size of the whole file in bytes, if known.

    Raises:
        UserError: if the server refuses, if `tries` attempts in a row bring nothing, if the sizes differ, if another
            process writes the same file, or if the disk is full. What arrived stays in `part`.
    """
    address = network.address(url)
    opener = network.opener()
    with _open_alone(part) as file:
        failures = 0
        while True:
            before = _size(file)
            try:
                return _transfer(opener, address, file, expected, network.timeout)
            except _TransientError as error:
                failures = 1 if _size(file) > before else failures + 1
                if failures >= network.tries:
                    raise UserError(
                        f"{address}: {error}, {failures} times in a row; {in_units(_size(file))} are kept in {part}: "
                        "the same command resumes from there",
                        environment=True,
                    ) from error
                wait = network.first_wait * 2 ** (failures - 1)
                print(f"{error}; next try in {wait:g} s", file=sys.stderr, flush=True)
                time.sleep(wait)


def _transfer(
    opener: urllib.request.OpenerDirector, address: str, file: BinaryIO, expected: int | None, timeout: float
) -> None:
    offset = _size(file)
    if expected is not None and offset >= expected:
        return  # complete or wrong: the hash decides
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity", "User-Agent": "imagen-fetch"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        with opener.open(request, timeout=timeout) as answer:
            _receive(answer, file, offset, expected)
    except urllib.error.HTTPError as error:
        _refused(error, address, file, offset)
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
        raise _TransientError(f"no answer from {urlsplit(address).netloc} ({_reason(error)})") from error


def _receive(answer: http.client.HTTPResponse, file: BinaryIO, offset: int, expected: int | None) -> None:
    """Append the answer after the first `offset` bytes; start over if the server sends the file from its beginning."""
    if not (answer.status == HTTPStatus.PARTIAL_CONTENT and _starts_at(answer) == offset):
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            raise _TransientError("the server sent another part than the requested one")
        offset = 0
        file.truncate(0)
    length = answer.headers.get("Content-Length")
    total = offset + int(length) if length else None
    if expected is not None and total is not None and total != expected:
        raise UserError(f"{answer.url}: has {total} bytes, the lock file says {expected}; it is another file")
    remaining = (total or expected or offset) - offset
    _check_space(file, remaining)
    for block in track(_blocks(answer), f"{Path(file.name).stem}, MiB", total=-(-remaining // BLOCK) or None):
        _write(file, block)
        if expected is not None and _size(file) > expected:
            raise UserError(f"{answer.url}: sends more than the {expected} bytes of the lock file; it is another file")
    if total is not None and _size(file) < total:
        raise _TransientError(f"the connection was cut at {_size(file)} of {total} bytes")


def _refused(error: urllib.error.HTTPError, address: str, file: BinaryIO, offset: int) -> None:
    if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
        if error.headers.get("Content-Range") == f"bytes */{offset}":
            return  # nothing is missing: the file is complete
        file.truncate(0)
        raise _TransientError("the kept part does not fit the server's file") from error
    if error.code in TRANSIENT or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _TransientError(f"the server answers {error.code} {error.reason}") from error
    kind = ForbiddenError if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else UserError
    raise kind(
        f"{address}: the server answers {error.code} {error.reason}; try --mirror, or --from with a copy of yours",
        environment=True,
    ) from error


def _open_alone(part: Path) -> BinaryIO:
    """Open `part` for appending, with an exclusive lock. The kernel releases the lock of a killed process."""
    os.close(open_lock(part))  # refuses a link
    file = part.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"{part} is being fetched by another process; wait for it", environment=True) from None
    return file


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(BLOCK):
        yield block


def _write(file: BinaryIO, block: bytes) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise UserError(
            f"cannot write {file.name}: {error.strerror}; make room or choose another folder with --to. "
            "What arrived is kept",
            environment=True,
        ) from error


def _check_space(file: BinaryIO, needed: int) -> None:
    free = shutil.disk_usage(Path(file.name).parent).free
    if free < needed:
        raise UserError(
            f"{file.name} needs {needed} more bytes, {free} are free; make room or choose another folder with --to",
            environment=True,
        )


def _starts_at(answer: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else None


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
