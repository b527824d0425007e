"""`imagen shards`: batches from its archives are those of the original, bit for bit; a kill costs what is in hand."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagen.commandline.needed_weights import check_weights
from imagen.data.batch import Batch
from imagen.data.module import ImagenDataModule, make_data
from imagen.data.web_dataset import WebDatasetSource
from imagen.errors import UserError
from imagen.packing.command import Choices, write_shards
from imagen.packing.record import ShardsRecord

SMALL = ["text=bag_of_words", "text.features=8", "resolutions=[4,8,16]", "data.batch_size=4"]
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def write_pictures(folder: Path, count: int, several: bool = False, second: bool = False) -> Path:
    """Pictures in several formats, under one suffix; with `several`, lists of captions and two kinds of them."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    rows = []
    for i in range(count):
        names = [f"{i}.Jpeg", *([f"edge{i}.png"] if second else [])]
        for name in names:
            picture = Image.fromarray(draws.integers(0, 255, (9, 12, 3), dtype=np.uint8))
            picture.save(folder / name, KINDS[i % 5] if name == names[0] else "PNG")
        captions = [f"number {i}", f"a {i % 7}", "" if i % 3 else "same"] if several and i % 2 else f"picture {i % 9}"
        row = {"file_name": names[0], "text": captions, **({"edge": names[1]} if second else {})}
        rows.append(json.dumps(row | ({"words": ["w", f"v{i}"][: i % 3]} if several else {})))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def data_of(compose_config):
    """data_of(*overrides): the DataModule of a configuration, prepared."""

    def make(*overrides: str) -> ImagenDataModule:
        data = make_data(compose_config("train", *SMALL, "data.train.n=5", *overrides).data)
        data.prepare_data()
        return data

    return make


@pytest.fixture
def pack(compose_config, tmp_path):
    """pack(*overrides, out=, ...): write archives and give their folder."""

    def packed(*overrides: str, out: str = "out", **choices: object) -> Path:
        config = compose_config("train", *SMALL, *overrides)
        write_shards(config, Choices(**{"out": str(tmp_path / out), "rows": 10, **choices}))
        return tmp_path / out

    return packed


def batches(data: ImagenDataModule, count: int = 12) -> list[Batch]:
    loader = iter(data.train_dataloader())
    return [next(loader) for _ in range(count)] + list(data.val_dataloader())


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert (one.captions, one.position) == (other.captions, other.position)
        for name in ("images", "text", "text_mask", "ids", "condition"):
            first, second = getattr(one, name), getattr(other, name)
            assert (first is None) == (second is None)
            assert first is None or torch.equal(first, second)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar.getmembers()}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_original_data_with_cached_embeddings(workers, tmp_path, data_of, pack):
    folder = write_pictures(tmp_path / "pictures", 37, several=True, second=True)
    options = ["data.train.source.caption_columns={text: 0.75, words: 0.25}", "data.train.source.condition_column=edge"]
    original = ["data=image_folder", f"data.path={folder}", f"data.num_workers={workers}", *options]
    out = pack(*original)
    record = ShardsRecord.read(out)
    assert record is not None
    reading = [*record.how_to_read(out).split(), f"data.num_workers={workers}"]
    assert "data.train.source.caption_weights=weights" in reading
    assert_equal(batches(data_of(*original)), batches(data_of(*reading)))
    begun, half = data_of(*reading), data_of(*original)
    begun.load_state_dict({"next_position": 5, "global_batch_size": 4, "train_size": 29})
    half.load_state_dict({"next_position": 5, "global_batch_size": 4, "train_size": 29})
    assert_equal(batches(begun, 4), batches(half, 4))


def test_vectors_of_a_cache_are_taken_as_they_are(tmp_path, data_of, pack):
    folder = write_pictures(tmp_path / "pictures", 25)
    original = ["data=image_folder", f"data.path={folder}", "data.num_workers=0", "text=shapes_t5", "text.features=256"]
    cached = data_of(*original)
    out = pack(*original)
    read = ["data=webdataset", f"data.path={out}", *original[2:], "text.mode=shards"]
    assert_equal(batches(cached), batches(data_of(*read)))


def test_pictures_are_kept_byte_for_byte_beside_their_embeddings(tmp_path, pack):
    folder = write_pictures(tmp_path / "pictures", 12)
    found = members(pack("data=image_folder", f"data.path={folder}") / "00001.tar")
    assert list(found) == [
        f"{row:09d}.{end}" for row in (10, 11) for end in ("txt", ("png", "jpg")[row % 5], "text.safetensors")
    ]
    assert found["000000010.png"] == (folder / "10.Jpeg").read_bytes()
    assert found["000000011.txt"] == b"picture 2"
    plain = pack("data=image_folder", f"data.path={folder}", "text=none", out="plain", embeddings=False)
    assert [name for name in members(plain / "00000.tar") if "safetensors" in name] == []
    with pytest.raises(UserError, match=r"this text= has no encoder.*embeddings=false"):
        pack("data=image_folder", f"data.path={folder}", "text=none", out="other")


def test_archives_of_archives_and_of_parquet_hold_the_same_rows(tmp_path, pack, data_of):
    from datasets import Dataset

    folder = write_pictures(tmp_path / "pictures", 23)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    table = {"image": [{"bytes": (folder / row["file_name"]).read_bytes(), "path": None} for row in rows]}
    Dataset.from_dict(table | {"text": [row["text"] for row in rows]}).to_parquet(str(tmp_path / "rows.parquet"))
    first = pack("data=image_folder", f"data.path={folder}")
    again = pack("data=webdataset", f"data.path={first}", out="again")
    third = pack("data=hub", f"data.path={tmp_path / 'rows.parquet'}", out="third")
    archives = [
        {name: bytes_ for name, bytes_ in content(one).items() if name.endswith(".tar")}
        for one in (first, again, third)
    ]
    assert archives[0] == archives[1] == archives[2]
    with pytest.raises(UserError, match=r"shapes.*pictures are drawn"):
        pack("data=shapes", "data.train.size=9", out="shapes")


def test_captions_that_a_text_file_would_change_are_kept(tmp_path, pack, data_of):
    folder = tmp_path / "pictures"
    write_pictures(folder, 6)
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    lines[3]["text"] = "ends in a line break\n"
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    original = ["data=image_folder", f"data.path={folder}", "data.num_workers=0"]
    out = pack(*original)
    reading = [*ShardsRecord.read(out).how_to_read(out).split(), "data.num_workers=0"]
    assert "data.train.source.caption_extension=json" in reading
    assert_equal(batches(data_of(*original)), batches(data_of(*reading)))


def test_a_row_that_cannot_be_read_or_kept_is_named(tmp_path, pack):
    folder = write_pictures(tmp_path / "pictures", 12)
    (folder / "11.Jpeg").unlink()
    with pytest.raises(UserError, match=r"11\.Jpeg \(metadata\.jsonl line 12\): there is no such file"):
        pack("data=image_folder", f"data.path={folder}")
    assert sorted(content(tmp_path / "out")) == ["00000.tar", "shards.json"]
    with pytest.raises(UserError, match=r"out holds 1 of 2 archives"):
        WebDatasetSource(tmp_path / "out", tmp_path / "index")
    (folder / "11.Jpeg").write_bytes((folder / "10.Jpeg").read_bytes())
    assert len(WebDatasetSource(pack("data=image_folder", f"data.path={folder}"), tmp_path / "index")) == 12


def test_archives_of_something_else_are_not_mixed(tmp_path, pack):
    folder = write_pictures(tmp_path / "pictures", 12)
    original = ["data=image_folder", f"data.path={folder}"]
    out = pack(*original)
    before = content(out)
    pack(*original)
    for changed, said in (
        ([*original, "text.encoder.seed=1"], r"embeddings of another text encoder \(seed: 0 there, now 1\)"),
        (["data=image_folder", f"data.path={write_pictures(tmp_path / 'others', 13)}"], r"something else \(source"),
        ([*original, "data.train.source.caption_column=file_name"], r"something else \(columns"),
    ):
        with pytest.raises(UserError, match=said):
            pack(*changed)
    for choices, said in (({"rows": 9}, r"rows_per_archive: 10 there, now 9"), ({"embeddings": False}, r"\(encoder")):
        with pytest.raises(UserError, match=said):
            pack(*original, **choices)
    assert content(out) == before
    (out / "shards.json").unlink()
    with pytest.raises(UserError, match=r"archives that `imagen shards` did not write \(00000\.tar\)"):
        pack(*original)
    (out / "shards.json").write_text('{"format": 9}')
    with pytest.raises(UserError, match=r"format 9, this version writes 1"):
        pack(*original)


def test_bad_members_are_named_in_training(tmp_path, pack, data_of):
    folder = write_pictures(tmp_path / "pictures", 9)
    good = pack("data=image_folder", f"data.path={folder}")
    files = members(good / "00000.tar")
    reading = ["data=webdataset", "text.mode=shards", "data.num_workers=0"]

    def changed(name: str, content: bytes | None) -> str:
        place = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        with tarfile.open(place / "0.tar", "w") as tar:
            for member, bytes_ in files.items():
                found = content if member == name else bytes_
                if found is not None:
                    info = tarfile.TarInfo(member)
                    info.size = len(found)
                    tar.addfile(info, io.BytesIO(found))
        return f"data.path={place}"

    whole = files["000000004.text.safetensors"]
    with pytest.raises(UserError, match=r"0\.tar sample 000000004: no embedded captions: .*`imagen shards`"):
        data_of(*reading, changed("000000004.text.safetensors", None))
    for damaged in (whole[:-1], files["000000005.text.safetensors"]):
        with pytest.raises(UserError, match=r"0\.tar sample 000000004, embedded captions: ") as caught:
            batches(data_of(*reading, changed("000000004.text.safetensors", damaged)))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"sample 000000000: embedded by another text encoder"):
        data_of(*reading, f"data.path={good}", "text.encoder.seed=1")
    with pytest.raises(UserError, match=r"text\.mode=shards: .*pictures has no embedded captions"):
        data_of("data=image_folder", f"data.path={folder}", "text.mode=shards")


def test_captions_are_not_encoded_ahead_when_they_lie_beside_the_pictures(tmp_path, data_of, pack, monkeypatch):
    out = pack("data=image_folder", f"data.path={write_pictures(tmp_path / 'pictures', 9)}")
    monkeypatch.setattr("imagen.text.bag_of_words.BagOfWords.__call__", lambda *_: pytest.fail("encoded"))
    data = data_of("data=webdataset", f"data.path={out}", "text.mode=shards", "data.num_workers=0")
    assert len(batches(data, 3)) > 3
    assert data.state_dict()["text"]["model"] == "bag-of-words"


def test_a_training_does_not_need_the_encoders_files(compose_config, tmp_path):
    absent = [*SMALL, "text=shapes_t5", f"text.encoder.path={tmp_path / 'absent'}"]
    check_weights(compose_config("train", *absent, "text.mode=shards"))
    with pytest.raises(UserError, match="absent"):
        check_weights(compose_config("train", *absent, "text.mode=online"))


def test_a_row_in_object_storage_takes_one_request_with_its_embeddings(tmp_path, pack, data_of, storage):
    out = pack("data=image_folder", f"data.path={write_pictures(tmp_path / 'pictures', 23)}")
    for archive in out.glob("*.tar"):
        storage.put(f"{tmp_path.name}/{archive.name}", archive)
    url = f"s3://pictures/{tmp_path.name}"
    reading = ["data=webdataset", "text.mode=shards", "data.num_workers=0", "data.train.source.cache_bytes=0"]
    near, far = (data_of(*reading, f"data.path={place}") for place in (out, url))
    assert_equal(batches(near), batches(far))
    storage.asked()
    example = far.train.origin[12]
    ((name, size),) = storage.asked()
    assert name == "00001.tar"
    assert example.embeddings is not None
    files = members(out / name)
    assert size <= len(files["000000012.webp"]) + len(files["000000012.text.safetensors"]) + 2 * 512
    assert example.embeddings == files["000000012.text.safetensors"]


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path, pack):
    folder = write_pictures(tmp_path / "pictures", 35)
    original = ["data=image_folder", f"data.path={folder}", "text=shapes_t5", "text.features=256", "text.mode=online"]
    alone, together = pack(*original), pack(*original, out="together", processes=2)
    assert content(together) == content(alone)
    assert len(content(alone)) == 5
    (folder / "34.Jpeg").write_bytes(b"")
    with pytest.raises(UserError, match=r"34\.Jpeg \(metadata\.jsonl line 35\): empty \(0 bytes\)"):
        pack(*original, out="third", processes=2)


def children_of(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def writers_of(process: int) -> list[int]:
    """The children that write archives, and not what `multiprocessing` starts to clean up."""
    return [one for one in children_of(process) if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def wait_until(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a process", "the command"])
def test_a_kill_costs_the_archives_in_hand(killed, tmp_path, pack):
    folder = write_pictures(tmp_path / "pictures", 400)
    original = ["data=image_folder", f"data.path={folder}"]
    whole, out = pack(*original), tmp_path / "killed"
    paths = [f"paths.{name}={tmp_path / name}" for name in ("runs", "cache", "outputs")]
    arguments = [*original, *SMALL, *paths, f"out={out}", "rows=10", "processes=2"]
    order = [sys.executable, "-m", "imagen.packing.command", *arguments]
    with subprocess.Popen(order, stderr=subprocess.PIPE, text=True) as command:
        wait_until(lambda: list(out.glob("*.tar")))
        writers = writers_of(command.pid)
        assert len(writers) == 2
        os.kill(writers[0] if killed == "a process" else command.pid, signal.SIGKILL)
        _, said = command.communicate(timeout=60)
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in writers))
    if killed == "a process":
        assert command.returncode == 3
        assert said.splitlines()[-1].startswith("error: a process that helped was killed")
    else:
        assert command.returncode == -signal.SIGKILL
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert 0 < len(finished) < 40
    ended = subprocess.run(order, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert content(out) == content(whole)
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == finished
