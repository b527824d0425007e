"""Captioned pictures from tar archives; damaged, truncated and malicious archives."""

import gzip
import io
import json
import logging
import os
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from imagen.data.reading.problems import BadExampleError
from imagen.data.shards import samples
from imagen.data.web_dataset import WebDatasetSource
from imagen.errors import UserError


@pytest.fixture
def shards(tmp_path_factory):
    """A WebDatasetSource with an index of its own."""
    index = tmp_path_factory.mktemp("index")
    return lambda path, *arguments, **options: WebDatasetSource(path, index, *arguments, **options)


@pytest.fixture
def jpeg(encoded):
    """jpeg(i): a 12 × 10 picture whose red tells i. PNG bytes: the extension decides nothing."""
    return lambda i: encoded(Image.new("RGB", (12, 10), (20 * i, 0, 0)))


@pytest.fixture
def archive(tmp_path, jpeg):
    """archive("00000.tar", {name: bytes}, extra members) writes a tar and gives its path."""

    def write(name: str, files: dict[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> str:
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for info in extra:
                tar.addfile(info)
        return str(tmp_path / name)

    return write


@pytest.fixture
def sample(jpeg):
    """The three members of img2dataset's sample i."""

    def make(i: int, caption: str | None = None) -> dict[str, bytes]:
        caption = f"picture {i}" if caption is None else caption
        meta = {"key": f"{i:09d}", "caption": caption, "alt": f"other {i}", "status": "success"}
        return {
            f"{i:09d}.jpg": jpeg(i),
            f"{i:09d}.json": json.dumps(meta).encode(),
            f"{i:09d}.txt": caption.encode(),
        }

    return make


def test_a_folder_of_shards_is_one_source_in_order(shards, archive, sample, tmp_path):
    archive("00001.tar", sample(10_000) | sample(10_001))
    archive("00000.tar", sample(0) | sample(1, "שלום 猫 🎉") | sample(2, ""))
    source = shards(tmp_path)
    assert len(source) == 5
    assert list(source.captions()) == ["picture 0", "שלום 猫 🎉", "", "picture 10000", "picture 10001"]
    example = source[2]
    assert (example.caption, example.id, example.image.shape) == ("", 2, (10, 12, 3))
    assert example.image[0, 0].tolist() == [40, 0, 0]
    assert source.where(3) == f"{tmp_path}/00001.tar sample 000010000"
    assert list(source.problems(min_side=10)) == []
    assert len(list(source.problems(min_side=11))) == 5


def test_a_copy_in_another_process_reads_the_same_rows(shards, archive, sample):
    source = shards(archive("00000.tar", sample(0) | sample(1)))
    copied = pickle.loads(pickle.dumps(source))
    assert (copied[1].image == source[1].image).all()
    assert copied.where(1) == source.where(1)


def test_an_archive_is_indexed_once_and_again_when_it_changed(shards, archive, sample, monkeypatch, tmp_path_factory):
    path = archive("00000.tar", sample(0) | sample(1, "\u202e odd \U0001f389"))
    found = [shards(path)[row].caption for row in (0, 1)]
    read = []
    plain_members = samples.plain_members
    monkeypatch.setattr(samples, "plain_members", lambda content: read.append(1) or plain_members(content))
    assert [shards(path)[row].caption for row in (0, 1)] == found
    assert read == []
    archive("00000.tar", sample(0) | sample(1) | sample(2))
    assert len(shards(path)) == 3
    assert read == [1]
    for index in tmp_path_factory.getbasetemp().glob("index*/*.npz"):
        index.write_bytes(index.read_bytes()[:50])
    assert len(shards(path)) == 3
    assert read == [1, 1]


def test_an_archive_put_there_with_the_size_and_time_of_the_old_is_indexed_again(shards, archive, sample):
    def samples():
        source = shards(path)
        return [source.where(row).rpartition(" ")[2] for row in range(len(source))]

    path = Path(archive("00000.tar", sample(1) | sample(2)))
    old = path.stat()
    assert samples() == ["000000001", "000000002"]
    archive(path.name, sample(3) | {f"long{name}": content for name, content in sample(4).items()})
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    assert samples() == ["000000003", "long000000004"]


def test_captions_can_come_from_the_json(shards, archive, sample):
    path = archive("00000.tar", sample(3))
    assert shards(path, "json", "alt")[0].caption == "other 3"
    with pytest.raises(UserError, match=r"000000003, \.json: no JSON object with the key 'title'"):
        list(shards(path, "json", "title").captions())


def test_what_editors_leave_around_a_caption_is_none_of_it(shards, archive, jpeg):
    texts = {"a": b"\xef\xbb\xbfa cat\r\n", "b": b"two\r\nlines\n\n", "c": b" plain "}
    files = {
        f"{key}.{kind}": jpeg(1) if kind == "jpg" else text for key, text in texts.items() for kind in ("jpg", "txt")
    }
    assert list(shards(archive("00000.tar", files)).captions()) == ["a cat", "two\nlines", " plain "]


def test_every_picture_that_can_be_decoded_is_one_in_a_tar(shards, archive, jpeg):
    suffixes = ["jfif", "jpe", "ppm", "pgm", "pbm", "j2k", "jp2", "avif", "tif", "bmp", "webp", "gif", "apng", "PNG"]
    files = {f"{i}.{suffix}": jpeg(1) for i, suffix in enumerate(suffixes)}
    source = shards(archive("00000.tar", files | {f"{i}.txt": b"a" for i in range(len(suffixes))}))
    assert len(source) == len(suffixes)


def test_a_pipe_among_the_shards_is_not_waited_for(shards, archive, sample, tmp_path):
    archive("00000.tar", sample(0))
    os.mkfifo(tmp_path / "00001.tar")
    with pytest.raises(UserError, match=r"00001\.tar is not a regular file"):
        shards(tmp_path)


def test_a_json_member_may_hold_several_captions_and_no_harm(shards, archive, jpeg):
    member = {"a.jpg": jpeg(1), "a.json": b'{"caption": ["one", "other"], "score": NaN}'}
    source = shards(archive("00000.tar", member), "json")
    assert source[0].captions == ("one", "other")
    for content in (b'{"caption": "a", "n": %s}' % (b"9" * 5000), b"[" * 100_000, b"[1]", b"\xff"):
        with pytest.raises(UserError, match=r"sample a, \.json: ") as caught:
            list(shards(archive("00000.tar", member | {"a.json": content}), "json").captions())
        assert len(str(caught.value)) < 400


def test_members_that_lead_elsewhere_are_names_only(shards, archive, sample, jpeg, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    files = {"../../evil.jpg": jpeg(1), "../../evil.txt": b"up", "/etc/evil.jpg": jpeg(2), "/etc/evil.txt": b"absolute"}
    links = []
    for kind, name in ((tarfile.SYMTYPE, "000000000.txt"), (tarfile.LNKTYPE, "hard.jpg"), (tarfile.FIFOTYPE, "a.jpg")):
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, "/etc/passwd"
        links.append(link)
    picture_only = {"000000000.jpg": jpeg(0)}
    before = sorted(tmp_path.rglob("*"))
    path = archive("inside/00000.tar", files | picture_only, tuple(links))
    source = shards(path, skip_incomplete=True)
    assert list(source.captions()) == ["up", "absolute"]
    assert source[1].image[0, 0, 0] == 40
    assert sorted(tmp_path.rglob("*")) == sorted([*before, inside / "00000.tar"])


def test_an_incomplete_sample_is_named_or_left_out_and_counted(shards, archive, sample, jpeg, caplog):
    without_caption = {name: content for name, content in sample(1).items() if not name.endswith(".txt")}
    without_picture = {name: content for name, content in sample(2).items() if not name.endswith(".jpg")}
    path = archive("00000.tar", sample(0) | without_caption | without_picture | {"README": b"hello"})
    with pytest.raises(UserError, match=r"00000\.tar sample 000000001: no caption: .*skip_incomplete=true"):
        shards(path)
    with caplog.at_level(logging.WARNING):
        assert len(shards(path, skip_incomplete=True)) == 1
    assert "3 incomplete samples are skipped, first" in caplog.text
    with pytest.raises(UserError, match=r"sample 000000003: 2 pictures"):
        shards(archive("00001.tar", sample(3) | {"000000003.png": jpeg(3)}))


@pytest.mark.parametrize(
    ("damage", "reason", "last"),
    [
        (lambda tar: tar[:3000], "unexpected end of data", "000000001.jpg"),  # inside the last picture
        (lambda tar: tar[: tar.index(b"000000001.jpg")], "no end-of-archive mark", "000000000.txt"),
        (lambda tar: tar[: tar.index(b"000000001.jpg") + 200], "no end-of-archive mark", "000000000.txt"),
        (lambda tar: tar.replace(b"000000001.jpg", b"\xff00000001.jpg"), "no end-of-archive mark", "000000000.txt"),
        (lambda tar: b"", r"empty \(0 bytes\)", "its beginning"),
        (lambda tar: b"<html>" * 200, "not a whole tar archive", "its beginning"),
        (lambda tar: gzip.compress(tar), "compressed, so that no member", "its beginning"),
    ],
)
def test_a_damaged_archive_is_named_with_the_last_whole_member(shards, archive, sample, tmp_path, damage, reason, last):
    path = tmp_path / "00000.tar"
    archive(path.name, {name: content for i in (0, 1) for name, content in sorted(sample(i).items())[::2]})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"00000\.tar: .*{reason}.*, after (member )?{last}") as caught:
        shards(path)
    assert "\n" not in str(caught.value)


def test_headers_that_point_backwards_do_not_loop(shards, archive, sample, tmp_path):
    path = tmp_path / "00000.tar"
    archive(path.name, sample(0))
    content = bytearray(path.read_bytes())
    content[124:136] = b"\xff" * 10 + b"\xfe\x00"  # a size of -512, in base 256
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"00000\.tar: "):
        shards(path)


def test_what_is_wrong_inside_a_sample_is_named(shards, archive, sample, jpeg):
    broken = {"a.jpg": b"<html>", "a.txt": b"page", "b.jpg": jpeg(1), "b.txt": b"caf\xe9", "c\n.jpg": jpeg(2)[:-30]}
    source = shards(archive("00000.tar", broken | {"c\n.txt": b"cut"}))
    with pytest.raises(BadExampleError, match=r"00000\.tar sample a: a web page"):
        source[0]
    with pytest.raises(UserError, match=r"sample b, \.txt: byte 4 is not UTF-8"):
        source[1]
    with pytest.raises(BadExampleError, match=r"sample 'c\\n': damaged"):
        source[2]
    assert [line.text.split(" sample ")[1] for line in source.problems(1)] == [
        "a: a web page or XML, not a picture (begins with '<html>')"
    ]


def test_what_is_not_there_or_repeated_is_said(shards, archive, sample, tmp_path):
    with pytest.raises(UserError, match=r"holds no \.tar archives"):
        shards(tmp_path)
    with pytest.raises(UserError, match=r"there is no .*absent"):
        shards(tmp_path / "absent")
    path = archive("00000.tar", sample(0))
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("000000000.txt"))
    with pytest.raises(UserError, match=r"member 000000000\.txt occurs twice"):
        shards(path)
    with pytest.raises(UserError, match=r"holds no pictures with a \.txt beside them"):
        shards(archive("empty.tar", {"README": b""}), skip_incomplete=True)


def test_pictures_to_condition_on_are_members_of_their_own(shards, archive, sample, encoded):
    def member(i):
        return {f"{i:09d}.condition.png": encoded(Image.new("RGB", (12, 10), (0, 0, 30 * i)))}

    path = archive("00000.tar", sample(0) | member(0) | sample(1) | member(1))
    source = shards(path, condition_extension=".condition.png")
    assert source.has_conditions
    assert source[1].image[0, 0].tolist() == [20, 0, 0]
    assert source[1].condition[0, 0].tolist() == [0, 0, 30]
    assert source[1].caption == "picture 1"
    assert list(source.problems(min_side=10)) == []
    assert shards(path)[1].condition is None
    lacking = archive("lacking.tar", sample(0) | member(0) | sample(1))
    with pytest.raises(
        UserError, match=r"sample 000000001: nothing to condition on: there is no \.condition\.png beside"
    ):
        shards(lacking, condition_extension="condition.png")
    assert len(shards(lacking, skip_incomplete=True, condition_extension="condition.png")) == 1


def test_the_picture_to_condition_on_may_have_the_extension_of_a_picture(shards, archive, sample, encoded):
    other = {"000000000.png": encoded(Image.new("RGB", (12, 10), (0, 0, 7)))}
    path = archive("00000.tar", sample(0) | other)
    assert shards(path, condition_extension="png")[0].condition[0, 0].tolist() == [0, 0, 7]
    with pytest.raises(UserError, match="2 pictures"):
        shards(path)
