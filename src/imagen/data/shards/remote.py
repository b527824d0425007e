"""Archives in object storage or behind https, read by byte ranges through `fsspec`."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from imagen.data.reading.tar_headers import Content
from imagen.data.reading.tar_index import MAX_BYTES
from imagen.data.shards.archive import Archive
from imagen.data.shards.kept_blocks import BLOCK, KeptBlocks, kept_archives
from imagen.errors import UserError

WINDOW = 4 * BLOCK
"""Bytes that are fetched at once for the headers. Members lie so close that nearly all of an archive is read; asking
for the headers alone would take a request for each of them."""

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try to read."""

VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime")
"""What tells one content of an object from another, by the names that file systems give it, the best first."""

EXTRAS = "pip install -e '.[remote]' -c constraints.txt"

Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteArchive(Archive):
    """The archive at a URL. Its identity is the URL, its size and its version.

    Connections are opened when they are needed and in the process that needs them: those of `fsspec` do not survive a
    fork.
    """

    url: str
    length: int
    version: str
    kept: KeptBlocks | None = None

    has_near_captions = False

    @property
    def name(self) -> str:
        return self.url

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def size(self) -> int:
        return self.length

    @property
    def identity(self) -> str:
        return f"{self.url}\n{self.length}\n{self.version}"

    @contextmanager
    def content(self) -> Iterator[Content]:
        yield Content(self._read, self.length, WINDOW)

    def read(self, offset: int, size: int) -> bytes:
        return self._read(offset, min(size, MAX_BYTES))

    def _read(self, offset: int, count: int) -> bytes:
        return self._fetch(offset, count) if self.kept is None else self.kept.read(offset, count, self._fetch)

    def _fetch(self, offset: int, count: int) -> bytes:
        count = max(min(count, self.length - offset), 0)
        content = _patiently(lambda: self._ask(offset, count), self.url)
        if len(content) != count:
            raise _changed(self.url, f"bytes {offset} to {offset + count} are {len(content)} bytes")
        return content

    def _ask(self, offset: int, count: int) -> bytes:
        file = _opened(os.getpid(), self.url, self.length, self.version)
        try:
            file.seek(offset)
            return file.read(count)
        except Exception:
            _opened.cache_clear()  # a broken connection is not used again
            raise


def is_remote(path: str | Path) -> bool:
    """Whether a path is a URL."""
    return "://" in str(path)


def remote_archives(url: str, cache: Path, cache_bytes: int) -> list[RemoteArchive]:
    """The archives at `url`: one `.tar`, several with `{00000..00099}` or `{a,b}` in the name, or all in a folder.

    Args:
        url: such as "s3://bucket/shards", "gs://bucket/shards" or "https://host/shards/{00000..00099}.tar".
        cache: folder that keeps what was read.
        cache_bytes: the most that is kept there.

    Raises:
        UserError: if there is none, or they cannot be reached.
    """
    if url.endswith(".tar"):
        return remote_files(_expanded(url), cache, cache_bytes)
    system = _patiently(lambda: _file_system(url), url)
    listed = _patiently(lambda: system.ls(url.rstrip("/"), detail=True), url)
    found = sorted((info for info in listed if info["name"].endswith(".tar")), key=lambda info: info["name"])
    urls = [system.unstrip_protocol(info["name"]) for info in found]
    if not urls:
        raise UserError(
            f"{url} holds no .tar archives; give a folder of them, or one archive, with data.path=...; a list of "
            "archives behind https is written https://host/{00000..00099}.tar"
        )
    return _kept(urls, found, cache, cache_bytes)


def remote_files(urls: Sequence[str], cache: Path | None = None, cache_bytes: int = 0) -> list[RemoteArchive]:
    """The files at `urls`, all of one server; without a `cache` nothing is kept of them.

    Raises:
        UserError: if one is not there, or cannot be reached.
    """
    system = _patiently(lambda: _file_system(urls[0]), urls[0])
    _patiently(lambda: system.info(urls[0]), urls[0])  # one answer for all, if it is that nothing can be read
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda one: _patiently(lambda: system.info(one), one), urls))
    return _kept(urls, found, cache, cache_bytes)


def _kept(
    urls: Sequence[str], found: Sequence[dict[str, Any]], cache: Path | None, cache_bytes: int
) -> list[RemoteArchive]:
    archives = [_described(one, info) for one, info in zip(urls, found, strict=True)]
    if cache is None:
        return archives
    places = kept_archives(cache, [(one.identity, one.length) for one in archives], cache_bytes)
    return [RemoteArchive(one.url, one.length, one.version, place) for one, place in zip(archives, places, strict=True)]


def _described(url: str, info: dict[str, Any]) -> RemoteArchive:
    size = info.get("size")
    if not isinstance(size, int):
        raise UserError(f"{url}: the server does not tell its size, so no part of it can be read; copy it elsewhere")
    return RemoteArchive(url, size, _version(info))


def _version(info: dict[str, Any]) -> str:
    found = next((info[name] for name in VERSIONS if info.get(name)), "")
    return found.isoformat() if isinstance(found, datetime) else str(found).strip('"')


def _expanded(url: str) -> list[str]:
    """The URLs that `{00000..00099}` and `{a,b}` stand for, in order."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", url)
    if found is None:
        return [url]
    first, last, names = found.groups()
    parts = names.split(",") if names else [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    if not parts:
        raise UserError(f"{url}: {first}..{last} counts no archive; write the smaller number first")
    return [one for part in parts for one in _expanded(url[: found.start()] + part + url[found.end() :])]


@lru_cache(maxsize=256)
def _opened(process: int, url: str, size: int, version: str) -> Any:
    """An open file of this process. `process` is its number: a forked one opens its own."""
    del process
    system = _file_system(url)
    system.invalidate_cache()
    file = system.open(url, "rb", cache_type="none")
    info = system.info(url)
    if info.get("size") != size or _version(info) != version:
        raise _changed(url, f"it has {info.get('size')} bytes and version {_version(info) or 'none'}")
    return file


def _file_system(url: str) -> Any:
    from fsspec.core import url_to_fs

    # Otherwise gcsfs asks for the kind of every bucket, and warns where that is not allowed, as for public ones.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    return url_to_fs(url)[0]


def _patiently(ask: Callable[[], Result], url: str) -> Result:
    """What `ask` returns; asked again after a while if the network or the server fails.

    Raises:
        UserError: for what waiting does not change, and after the last try.
    """
    for pause in (*PAUSES, None):
        try:
            return ask()
        except UserError:
            raise
        except Exception as error:
            if (known := _known(error, url)) is not None:
                raise known from error
            if pause is None:
                raise UserError(
                    f"{url} cannot be read ({_said(error)}); check the network and the address of the server",
                    environment=True,
                ) from error
            time.sleep(pause)
    raise AssertionError


def _known(error: Exception, url: str) -> UserError | None:
    """What is wrong, if trying again would be of no use."""
    kind, said = type(error).__name__, _said(error)
    protocol, cause = url.partition("://")[0], error.__cause__  # over https every failure looks like an absent file
    if isinstance(error, ImportError):
        return UserError(f"{url}: {protocol}:// needs a package that is not installed ({said}): {EXTRAS}")
    if isinstance(error, PermissionError) or "Credential" in kind or getattr(cause, "status", 0) in (401, 403):
        return UserError(
            f"{url} may not be read ({said}); give credentials in the environment (AWS_PROFILE, or AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY; GOOGLE_APPLICATION_CREDENTIALS), or for a public bucket FSSPEC_S3_ANON=true "
            "or FSSPEC_GS_TOKEN=anon",
            environment=True,
        )
    if isinstance(error, FileNotFoundError) and not type(cause).__name__.startswith("ClientConn"):
        return UserError(f"there is no {url}; check bucket, folder and name in data.path")
    if kind == "FileExpired":
        return _changed(url, said)
    if isinstance(error, ValueError) and "Protocol not known" in said:
        return UserError(
            f"{url}: {protocol}:// is not read; give s3://, gs://, https:// or a folder with data.path=..."
        )
    if isinstance(error, ValueError) and "seek" in said:
        return UserError(
            f"{url}: the server sends no byte ranges, so no member can be read by itself; copy it elsewhere"
        )
    return None


def _changed(url: str, how: str) -> UserError:
    return UserError(
        f"{url} is not what it was when training began ({how}); start again, so that its index is read anew",
        environment=True,
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
