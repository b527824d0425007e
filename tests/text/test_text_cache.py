import errno
import json
import multiprocessing
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_encoder import FakeEncoder, expected
from torch.utils.data import DataLoader

from imagen.errors import UserError
from imagen.locks import only_builder
from imagen.text.cached import cache as cache_module
from imagen.text.cached import store
from imagen.text.cached.store import Manifest
from imagen.text.model_files import MissingModelError
from imagen.text.sources import CachedText

CAPTIONS = [f"picture {index} " + "of many words " * (index % 4) for index in range(100)]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Seven shards of at most 15 captions for the hundred CAPTIONS."""
    monkeypatch.setattr(cache_module, "CAPTIONS_PER_CHUNK", 5)
    monkeypatch.setattr(cache_module, "CHUNKS_PER_SHARD", 3)


@pytest.fixture
def built(tmp_path) -> Path:
    """The folder of a cache of CAPTIONS."""
    CachedText(FakeEncoder(), tmp_path / "cache").prepare(CAPTIONS)
    return tmp_path / "cache"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_reads(source: CachedText, captions: list[str]) -> None:
    found, wanted = source.embed(captions), expected(captions)
    assert found.lengths == wanted.lengths
    assert found.values.dtype == torch.float32
    assert torch.equal(found.values, wanted.values)


def test_every_caption_reads_back_whatever_the_order(built):
    source = CachedText(FakeEncoder(), built)
    assert_reads(source, CAPTIONS)
    assert_reads(source, [CAPTIONS[index] for index in (99, 3, 3, 0, 57)])


def test_a_caption_is_encoded_once_and_empty_ones_never(tmp_path, caplog):
    encoder = FakeEncoder()
    source = CachedText(encoder, tmp_path / "cache")
    source.prepare(["one", "", "two", "one", "  "])
    source.prepare(["two", "one"])
    assert encoder.calls == [["one", "two"]]
    assert source.embed(["", "two", "\t"]).lengths == (0, 1, 0)
    assert "2 of 5 captions are empty" in caplog.text


def test_new_captions_are_added_behind_the_old_ones(built):
    before = files(built)
    encoder = FakeEncoder()
    source = CachedText(encoder, built)
    source.prepare(["something new", *CAPTIONS])
    assert encoder.calls == [["something new"]]
    assert_reads(source, ["something new", *CAPTIONS])
    after = files(built)
    assert all(after[name] == before[name] for name in before if name.startswith("shard"))


def test_a_complete_cache_is_not_written_to(built):
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    CachedText(FakeEncoder(), built).prepare(CAPTIONS)
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


def kill_while_encoding(call: int) -> None:
    encode = FakeEncoder.__call__
    FakeEncoder.__call__ = lambda self, captions: os._exit(9) if len(self.calls) == call else encode(self, captions)


def kill_while_writing(write: int) -> None:
    count, replace = iter(range(1000)), Path.replace
    Path.replace = lambda self, target: os._exit(9) if next(count) == write else replace(self, target)


@pytest.mark.parametrize(
    ("kill", "when"),
    [(kill_while_encoding, call) for call in (0, 2, 3, 11, 19)]
    + [(kill_while_writing, w) for w in (0, 1, 2, 4, 8, 13)],
)
def test_a_killed_builder_loses_at_most_a_shard_and_ends_with_the_same_files(kill, when, built, tmp_path):
    folder = tmp_path / "killed"

    def build() -> None:
        kill(when)
        CachedText(FakeEncoder(), folder).prepare(CAPTIONS)

    child = FORK.Process(target=build)
    child.start()
    child.join(30)
    assert child.exitcode == 9
    encoder = FakeEncoder()
    CachedText(encoder, folder).prepare(CAPTIONS)
    done = when // 3  # a shard is written, published and named in the manifest; or encoded in three chunks
    assert sum(map(len, encoder.calls)) == 100 - 15 * done
    assert files(folder) == files(built)


@dataclass
class KilledEncoder(FakeEncoder):
    """Kills its process when it is given a chunk with one of these captions."""

    fatal: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        super().__init__()

    def __call__(self, captions: list[str]):
        if self.fatal & set(captions):
            os._exit(9)
        time.sleep(0.02)  # so that all processes get their share
        return super().__call__(captions)


def test_several_processes_make_the_files_of_one(built, tmp_path):
    CachedText(FakeEncoder(), tmp_path / "three", processes=3).prepare(CAPTIONS)
    assert files(tmp_path / "three") == files(built)


def test_a_killed_helper_loses_its_shard_and_the_next_build_fills_the_gap(built, tmp_path):
    folder = tmp_path / "killed"
    killed = KilledEncoder(fatal=frozenset(CAPTIONS[17:18]))  # in the second shard
    with pytest.raises(UserError, match=r"was killed or failed \(exit code 9\).*fewer processes") as found:
        CachedText(killed, folder, processes=2).prepare(CAPTIONS)
    assert found.value.environment
    kept = [record.name for record in Manifest.read(folder).shards]
    assert "shard-00001.safetensors" not in kept
    assert "shard-00000.safetensors" in kept
    encoder = FakeEncoder()
    CachedText(encoder, folder).prepare(CAPTIONS)
    assert sum(map(len, encoder.calls)) == 100 - 15 * len(kept)
    assert files(folder) == files(built)


def test_helpers_end_with_a_killed_builder_and_publish_nothing(built, tmp_path):
    folder = tmp_path / "killed"
    publish = cache_module.publish

    def build() -> None:
        def published_once(partial: Path, path: Path) -> None:
            publish(partial, path)
            os._exit(9)

        cache_module.publish = published_once
        CachedText(KilledEncoder(), folder, processes=2).prepare(CAPTIONS)

    child = FORK.Process(target=build)
    child.start()
    child.join(60)
    assert child.exitcode == 9
    CachedText(FakeEncoder(), folder, processes=2).prepare(CAPTIONS)
    assert files(folder) == files(built)


class RefusingEncoder(FakeEncoder):
    def __call__(self, captions: list[str]):
        raise UserError(f"process {os.getpid()} has no vectors")


def test_the_mistake_that_a_helper_finds_is_the_one_reported(tmp_path):
    with pytest.raises(UserError, match="has no vectors") as found:
        CachedText(RefusingEncoder(), tmp_path / "cache", processes=2).prepare(CAPTIONS)
    assert str(os.getpid()) not in str(found.value)


def test_no_process_cannot_encode(tmp_path):
    with pytest.raises(UserError, match=r"text\.processes=0"):
        CachedText(FakeEncoder(), tmp_path / "cache", processes=0)


def test_a_second_builder_is_refused_at_once_by_the_name_of_the_first(tmp_path):
    held, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with only_builder(tmp_path):
            held.set()
            done.wait(30)

    first = FORK.Process(target=hold)
    first.start()
    assert held.wait(30)
    begun = time.monotonic()
    with pytest.raises(UserError, match=rf"is being built by process {first.pid} on "):
        CachedText(FakeEncoder(), tmp_path).prepare(CAPTIONS)
    assert time.monotonic() - begun < 20
    done.set()
    first.join(30)
    CachedText(FakeEncoder(), tmp_path).prepare(CAPTIONS)


def test_a_lock_left_by_another_machine_must_be_removed_by_hand(tmp_path):
    (tmp_path / "lock").write_text("process 12 on elsewhere")
    with pytest.raises(UserError, match=r"locked by process 12 on elsewhere.*delete .*lock"):
        CachedText(FakeEncoder(), tmp_path).prepare(CAPTIONS)
    (tmp_path / "lock").unlink()
    CachedText(FakeEncoder(), tmp_path).prepare(CAPTIONS)


def test_no_flipped_bit_of_a_shard_is_read(built):
    rng, shards = np.random.default_rng(0), sorted(built.glob("shard-*"))
    for _ in range(40):
        path = shards[rng.integers(len(shards))]
        content = bytearray(path.read_bytes())
        whole = bytes(content)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(UserError, match=path.name):
            CachedText(FakeEncoder(), built).embed(CAPTIONS[:1])
        path.write_bytes(whole)
    assert_reads(CachedText(FakeEncoder(), built), CAPTIONS)


def test_large_caches_verify_a_shard_when_it_is_first_read(built, monkeypatch):
    monkeypatch.setattr(store, "VERIFY_AT_ONCE", 0)
    damaged = built / "shard-00001.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    source = CachedText(FakeEncoder(), built)
    assert_reads(source, CAPTIONS[:15])
    with pytest.raises(UserError, match=r"shard-00001\.safetensors: sha256 mismatch \(manifest .*, file .*delete"):
        source.embed(CAPTIONS[15:16])


def damage_manifest(folder: Path, **changes: object) -> None:
    values = json.loads((folder / store.MANIFEST).read_text())
    (folder / store.MANIFEST).write_text(json.dumps(values | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "shard-00002.safetensors").unlink(), r"shard-00002.*No such file.*delete"),
        (lambda folder: os.truncate(folder / "shard-00002.safetensors", 100), "shard-00002.* 100 found"),
        (lambda folder: damage_manifest(folder, format=99), "manifest.json: format 99, this version reads 1"),
        (lambda folder: damage_manifest(folder, shards=[{"name": "x"}]), "manifest.json: damaged"),
        (
            lambda folder: damage_manifest(
                folder, shards=[{"name": "../x", "sha256": "", "bytes": 1, "captions": 1, "tokens": 1}]
            ),
            "manifest.json: damaged .*is not the name of a file in this folder",
        ),
        (lambda folder: damage_manifest(folder, fingerprint=[]), "manifest.json: "),
        (lambda folder: (folder / store.MANIFEST).write_text("{"), "manifest.json: not JSON"),
    ],
)
def test_a_damaged_cache_is_refused_by_name(built, damage, message):
    damage(built)
    with pytest.raises(UserError, match=message):
        CachedText(FakeEncoder(), built).embed(CAPTIONS[:1])


def test_a_shard_named_outside_the_folder_is_refused(built, tmp_path):
    values = json.loads((built / store.MANIFEST).read_text())
    shutil.copy(built / values["shards"][0]["name"], tmp_path / "outside.safetensors")
    values["shards"][0]["name"] = "../outside.safetensors"
    damage_manifest(built, shards=values["shards"])
    with pytest.raises(UserError, match="damaged"):
        CachedText(FakeEncoder(), built).embed(CAPTIONS[:1])


@pytest.mark.parametrize("field", ["model", "max_length", "dtype", "something_new"])
def test_another_encoder_is_refused_with_both_values(built, field):
    before, other = files(built), FakeEncoder()
    was = other.fingerprint.get(field)
    other.fingerprint = other.fingerprint | {field: "other"}
    for use in (lambda source: source.embed(CAPTIONS[:1]), lambda source: source.prepare(["new"])):
        with pytest.raises(UserError, match=f"{field}: cache {was}, configuration other.*imagen cache"):
            use(CachedText(other, built))
    assert files(built) == before


def test_a_moved_cache_is_valid(built, tmp_path):
    assert_reads(CachedText(FakeEncoder(), built.rename(tmp_path / "moved")), CAPTIONS)


class AbsentEncoder(FakeEncoder):
    """Its files are not on this machine."""

    @property
    def fingerprint(self) -> dict:
        raise MissingModelError("no such folder")

    @fingerprint.setter
    def fingerprint(self, value: dict) -> None:
        pass

    def __call__(self, captions: list[str]):
        raise MissingModelError("no such folder")


def test_without_the_encoder_a_cache_that_agrees_is_used_with_a_warning(built, caplog):
    source = CachedText(AbsentEncoder(), built)
    source.prepare(CAPTIONS)
    assert_reads(source, CAPTIONS)
    assert source.fingerprint == FakeEncoder().fingerprint
    assert "without comparing their encoder" in caplog.text
    with pytest.raises(MissingModelError):
        source.prepare(["new"])
    disagreeing = AbsentEncoder()
    disagreeing.settings = disagreeing.settings | {"max_length": 64}
    with pytest.raises(UserError, match="max_length: cache 128, configuration 64"):
        CachedText(disagreeing, built).embed(CAPTIONS[:1])


def test_a_caption_that_is_not_there_is_named(built, tmp_path):
    for folder in (built, tmp_path / "nothing here"):
        with pytest.raises(UserError, match=r"'a purple cow' is not in the embedding cache .*imagen cache.*online"):
            CachedText(FakeEncoder(), folder).embed([*CAPTIONS[:0], "a purple cow"])


def test_a_full_disk_is_reported_and_leaves_the_cache_as_it_was(built, monkeypatch):
    before = files(built)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"cannot write .*shard-00007.*No space left.*needs \d+ bytes, \d+ free"
    ) as found:
        CachedText(FakeEncoder(), built).prepare([*CAPTIONS, "new"])
    assert found.value.environment
    assert files(built) == before


def test_captions_whose_digests_begin_alike_are_told_apart(tmp_path, monkeypatch):
    whole = store.digests

    def alike(captions):
        found = whole(captions)
        found[:, :8] = 7
        return found

    monkeypatch.setattr(store, "digests", alike)
    source = CachedText(FakeEncoder(), tmp_path)
    source.prepare(CAPTIONS)
    assert_reads(source, CAPTIONS[::-1])
    with pytest.raises(UserError, match="not in the embedding cache"):
        source.embed(["new"])


def test_loader_workers_read_what_the_main_process_opened(built):
    source = CachedText(FakeEncoder(), built)
    source.prepare(CAPTIONS)
    loader = DataLoader(CAPTIONS, batch_size=10, num_workers=2, collate_fn=source.embed, multiprocessing_context="fork")
    found = [batch.values for batch in loader]
    assert torch.equal(torch.cat(found), expected(CAPTIONS).values)


def test_captions_are_gone_through_and_not_held(tmp_path):
    class Asked:
        """Captions that are made when they are asked for."""

        def __init__(self, count: int) -> None:
            self.count, self.times = count, 0

        def __iter__(self):
            self.times += 1
            return (f"caption {number % 700}" for number in range(self.count))

    captions = Asked(1500)
    source = CachedText(FakeEncoder(), tmp_path / "streamed")
    source.prepare(captions)
    assert captions.times == 2
    source.prepare(captions)
    assert captions.times == 3
    CachedText(FakeEncoder(), tmp_path / "listed").prepare([f"caption {number}" for number in range(700)])
    files = [sorted((tmp_path / name).glob("*.*")) for name in ("streamed", "listed")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
