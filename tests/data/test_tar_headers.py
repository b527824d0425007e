"""The loop over headers finds what `tarfile` finds, in any archive, or leaves it to `tarfile`."""

import io
import random
import tarfile

import pytest

from imagen.data.reading.tar_headers import Content, IrregularError, plain_members
from imagen.data.reading.tar_index import sample_of, tar_members
from imagen.errors import UserError

NAMES = [
    "a.jpg",
    "00/7.txt",
    "ü 猫.json",
    "\udcff.png",
    "x" * 99 + ".j",
    "f/" * 60 + "p.jpg",
    "y" * 140,
    ".a",
    "b//c.txt",
]
KINDS = [tarfile.REGTYPE] * 6 + [tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]


def made(draw: random.Random) -> bytes:
    """An archive of a few members, in one of the three formats, some with what writers add."""
    stream, odd = io.BytesIO(), draw.random() < 0.5
    kept = draw.choice([tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
    headers = {"comment": "all"} if kept == tarfile.PAX_FORMAT and draw.random() < 0.1 else None
    with tarfile.open(fileobj=stream, mode="w", format=kept, pax_headers=headers) as tar:
        for number in range(draw.randrange(5)):
            info = tarfile.TarInfo(draw.choice(NAMES) if odd else f"{number:05d}.jpg")
            info.type = draw.choice(KINDS) if odd else tarfile.REGTYPE
            info.mtime = draw.choice([0, 1.7e9, 1_700_000_000.25, -3, 1 << 40])
            info.uid, info.uname = draw.choice([0, 1000, 1 << 30]), draw.choice(["", "root", "ö"])
            content = draw.randbytes(draw.choice([0, 1, 511, 512, 513, 3000]))
            info.size = len(content) if info.isreg() else 0
            if kept == tarfile.PAX_FORMAT and draw.random() < 0.1:
                info.pax_headers = draw.choice(
                    [{"path": "n/ame.jpg"}, {"note": "a\nb"}, {"atime": "1.5"}, {"size": "1"}]
                )
            try:
                tar.addfile(info, io.BytesIO(content))
            except (ValueError, UnicodeError):  # what this format cannot hold
                continue
    return stream.getvalue()


def damaged(archive: bytes, draw: random.Random) -> bytes:
    """The archive as it is, or cut, or with some bytes changed or put in, mostly in the headers."""
    changed, kind = bytearray(archive), draw.randrange(4)
    if kind == 1:
        return archive[: draw.randrange(len(archive))]
    for _ in range(draw.randrange(1, 4) if kind >= 2 else 0):
        place = draw.randrange(0, len(archive), 512) + draw.randrange(512) if draw.random() < 0.9 else 0
        changed[min(place, len(archive) - 1)] = draw.choice([0, 32, 48, 49, 55, 57, 128, 255, draw.randrange(256)])
        if kind == 3:  # with a checksum that agrees
            start = place - place % 512
            changed[start + 148 : start + 156] = b" " * 8
            changed[start + 148 : start + 156] = b"%06o\0 " % sum(changed[start : start + 512])
    return bytes(changed[: len(archive)])


def content_of(archive: bytes, window: int = 4096) -> Content:
    return Content(lambda offset, count: archive[offset : offset + count], len(archive), window)


@pytest.mark.parametrize("seed", range(20))
def test_the_loop_agrees_with_tarfile_on_any_archive(seed):
    draw, plain = random.Random(seed), 0
    for _ in range(150):
        archive = damaged(made(draw), draw)
        try:
            found = list(plain_members(content_of(archive, draw.choice([512, 4096, 1 << 20]))))
        except IrregularError:
            continue
        assert found == list(tar_members(content_of(archive), "archive"))
        plain += 1
    assert plain >= 10


def test_what_img2dataset_writes_is_plain():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w|") as tar:  # as webdataset's TarWriter, with times in pax headers
        for name in ("000000001.jpg", "ü.txt"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 700, 1_700_000_000.123
            tar.addfile(info, io.BytesIO(bytes(700)))
    found = list(plain_members(content_of(stream.getvalue())))
    assert [name for name, _, _ in found] == ["000000001.jpg", "ü.txt"]
    assert found == list(tar_members(content_of(stream.getvalue()), "archive"))


def test_damage_is_left_to_tarfile_which_names_it():
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = 3000
        tar.addfile(info, io.BytesIO(bytes(3000)))
    archive = whole.getvalue()[:2000]
    with pytest.raises(IrregularError):
        list(plain_members(content_of(archive)))
    with pytest.raises(UserError, match="archive: not a whole tar archive"):
        list(tar_members(content_of(archive), "archive"))


def test_parts_that_nothing_is_asked_of_are_not_read():
    asked = []
    content = Content(lambda offset, count: asked.append((offset, count)) or bytes(count), 10_000, 1000)
    assert [len(content.at(*place)) for place in ((0, 100), (900, 100), (5100, 10), (9990, 100))] == [100, 100, 10, 10]
    assert asked == [(0, 1000), (5000, 1000), (9000, 1000)]
    assert content.at(12_000, 5) == b""


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("a/b.c/d.tar.JPG", ("a/b.c/d", "tar.jpg")),
        ("a//b.txt", ("a/b", "txt")),
        ("/x.jpg", ("/x", "jpg")),
        ("x", ("x", "")),
    ],
)
def test_a_sample_is_the_path_up_to_the_first_dot_of_the_file_name(name, sample):
    assert sample_of(name) == sample
