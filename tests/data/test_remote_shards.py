"""Archives in object storage: the same rows as from this disk, few requests, a cache of bounded size, clear errors."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from test_resume_data import Probe, contents

from imagen.data.module import ImagenDataModule
from imagen.data.shards import kept_blocks, remote
from imagen.data.shards.kept_blocks import KeptBlocks
from imagen.data.transforms import Geometry
from imagen.data.web_dataset import WebDatasetSource
from imagen.errors import UserError


@pytest.fixture
def stored(storage, tar_of, tmp_path):
    """Two archives of 300 rows each, on this disk and as the folder of a bucket: path and URL."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # of another test's environment
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (0, 1):
        path = folder / f"{number:05d}.tar"
        path.write_bytes(tar_of(range(300 * number, 300 * (number + 1))))
        storage.put(f"{tmp_path.name}/{path.name}", path)
    storage.asked()
    return folder, f"s3://pictures/{tmp_path.name}"


@pytest.fixture
def opened(tmp_path):
    """opened(url, bytes to keep)"""

    def make(url: str, cache_bytes: int = 0, **options: object) -> WebDatasetSource:
        return WebDatasetSource(url, tmp_path / "index", cache=tmp_path / "kept", cache_bytes=cache_bytes, **options)

    return make


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "PAUSES", (0.01,))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (kept_blocks, remote):
        monkeypatch.setattr(module, "BLOCK", 1 << 16)
    monkeypatch.setattr(remote, "WINDOW", 1 << 18)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def rows_of(source: WebDatasetSource) -> list[tuple]:
    examples = [source[row] for row in range(0, len(source), 37)]
    return [(example.id, example.captions, example.image.tobytes()) for example in examples]


def test_rows_are_those_of_the_same_archives_on_this_disk(stored, opened, tmp_path):
    folder, url = stored
    near, far = opened(folder), opened(url)
    assert rows_of(far) == rows_of(near)
    assert list(far.captions()) == list(near.captions())
    assert far.world.fingerprint == near.world.fingerprint
    assert list(far.sizes()) == list(near.sizes())
    assert far.where(301) == f"{url}/00001.tar sample 000301"
    assert far.identity != near.identity
    assert list(far.files()) == []
    assert rows_of(pickle.loads(pickle.dumps(far))) == rows_of(near)
    assert rows_of(opened("file://" + str(folder))) == rows_of(near)


def test_the_index_reads_an_archive_once_and_a_row_takes_one_request(stored, opened, storage):
    folder, url = stored
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    source = opened(url)
    read = storage.asked()
    assert {name: sum(count for one, count in read if one == name) for name in sizes} == sizes
    assert len(read) == sum(-(-size // remote.WINDOW) for size in sizes.values())
    captions = list(source.captions())
    assert (len(captions), storage.asked()) == (600, [])
    picture = source.samples.places[400, 3]
    assert source[400].caption == captions[400]
    assert storage.asked() == [("00001.tar", picture)]
    assert len(opened(url)) == 600
    assert storage.asked() == []


def test_what_is_read_is_kept_and_not_asked_for_again(stored, opened, storage, tmp_path):
    folder, url = stored
    found = rows_of(opened(folder))
    source = opened(url, cache_bytes=10**9)
    storage.asked()
    assert rows_of(source) == found
    assert storage.asked() == []
    kept = sorted((tmp_path / "kept").rglob("[0-9]"))
    os.truncate(kept[0], 100)
    kept[1].unlink()
    assert rows_of(opened(url, cache_bytes=10**9)) == found
    assert list(opened(url, cache_bytes=10**9).problems(1)) == []
    assert sum(count for _, count in storage.asked()) == 2 << 16
    assert size_of(tmp_path / "kept") == size_of(folder)


def test_no_more_is_kept_than_is_allowed(stored, opened, storage, tmp_path, tar_of):
    folder, url = stored
    most = (folder / "00000.tar").stat().st_size + 1000
    other = storage.put(f"{tmp_path.name}-other/a.tar", tar_of(range(100)))
    assert len(opened(other, most)) == 100
    assert 0 < size_of(tmp_path / "kept") <= most
    source = opened(url, most)
    assert rows_of(source) == rows_of(opened(folder))
    assert size_of(tmp_path / "kept") == (folder / "00000.tar").stat().st_size  # the other one made room
    storage.asked()
    rows_of(source)
    assert {name for name, _ in storage.asked()} == {"00001.tar"}
    opened(url, 0)
    assert size_of(tmp_path / "kept") == 0


def test_a_full_disk_stops_keeping_and_not_the_training(tmp_path, caplog):
    (tmp_path / "kept").write_bytes(b"not a folder")
    blocks = KeptBlocks(tmp_path / "kept" / "archive", 3000)
    content = bytes(range(250)) * 12
    assert blocks.read(100, 2000, lambda offset, count: content[offset : offset + count]) == content[100:2100]
    assert "are not kept any more" in caplog.text


def test_an_index_of_many_archives_is_read_by_processes(stored, opened, monkeypatch):
    folder, url = stored
    monkeypatch.setattr("imagen.data.shards.index.WORTH_PROCESSES", 1)
    monkeypatch.setattr("imagen.data.shards.index.cores", lambda: 2)
    assert rows_of(opened(url)) == rows_of(opened(folder))


@pytest.mark.parametrize("url", ["{address}/pictures/{name}/{{00000..00001}}.tar", "memory://{name}"])
def test_other_protocols_give_the_same_rows(stored, opened, url):
    import fsspec

    folder, s3 = stored
    name = s3.rpartition("/")[2]
    for path in folder.iterdir():
        fsspec.filesystem("memory").pipe(f"/{name}/{path.name}", path.read_bytes())
    url = url.format(address=os.environ["AWS_ENDPOINT_URL"], name=name)
    assert rows_of(opened(url)) == rows_of(opened(folder))


def test_names_of_archives_are_counted():
    assert remote._expanded("https://a/{08..11}.tar")[::3] == ["https://a/08.tar", "https://a/11.tar"]
    assert remote._expanded("s3://{a,b}/{0..1}.tar") == [f"s3://{a}/{b}.tar" for a in "ab" for b in "01"]
    with pytest.raises(UserError, match=r"3\.\.1 counts no archive"):
        remote._expanded("s3://a/{3..1}.tar")


def test_an_archive_that_changed_ends_the_training_and_is_read_anew_then(stored, opened, storage, tar_of, tmp_path):
    _, url = stored
    source = opened(url)
    assert source[0].caption == "picture 0"
    storage.put(f"{tmp_path.name}/00000.tar", tar_of(range(1, 301)))
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"00000\.tar is not what it was when training began .*start again"
        ) as caught:
            source[5]
        assert caught.value.environment
    assert opened(url)[0].caption == "picture 1"


def test_what_cannot_be_read_is_said_in_one_line(stored, opened, storage, impatient, monkeypatch):
    def refusal(url: str) -> tuple[str, bool]:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(UserError) as caught:
            opened(url)
        assert "\n" not in str(caught.value)
        return str(caught.value), caught.value.environment

    folder, url = stored
    for absent in ("s3://no-such-bucket/a", f"{url}/absent", f"{url}/absent.tar"):
        assert refusal(absent) == (f"there is no {absent}; check bucket, folder and name in data.path", False)
    assert "s4:// is not read; give s3://" in refusal("s4://a/b")[0]
    storage.put("text/a.txt", b"no archive")
    assert "s3://pictures/text holds no .tar archives" in refusal("s3://pictures/text")[0]
    said, environment = refusal("http://127.0.0.1:9/{0..3}.tar")
    assert ("http://127.0.0.1:9/0.tar cannot be read" in said, environment) == (True, True)
    storage.client.put_object(Bucket="pictures", Key="private.tar", Body=b"none")
    said, environment = refusal(f"{os.environ['AWS_ENDPOINT_URL']}/pictures/private.tar")
    assert ("private.tar may not be read" in said, environment) == (True, True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    said, environment = refusal(url)
    assert ("check the network and the address of the server" in said, environment) == (True, True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said, environment = refusal(url)
    assert ("may not be read (NoCredentialsError" in said and "AWS_PROFILE" in said, environment) == (True, True)
    cut = storage_cut(folder)
    with pytest.raises(UserError, match=r"00000\.tar: not a whole tar archive .*download the shard again"):
        opened(f"file://{cut}")


def storage_cut(folder: Path) -> Path:
    path = folder / "00000.tar"
    os.truncate(path, 5000)
    return path


def test_a_server_that_fails_for_a_while_is_asked_again(stored, opened, impatient, monkeypatch):
    _, url = stored
    source, fails = opened(url), [OSError("reset"), TimeoutError()]
    ask = remote.RemoteArchive._ask

    def failing(self, offset, count):
        if fails:
            raise fails.pop()
        return ask(self, offset, count)

    monkeypatch.setattr(remote.RemoteArchive, "_ask", failing)
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01))
    assert source[3].caption == "picture 3"
    assert fails == []


def test_a_package_that_is_not_installed_is_named_with_the_command_that_brings_it(opened, monkeypatch):
    def absent(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(remote, "_file_system", absent)
    with pytest.raises(UserError, match=r"needs a package that is not installed .*pip install -e '\.\[remote\]'"):
        opened("s3://a/b")


def test_training_is_bit_for_bit_that_from_this_disk(stored, opened, text):
    def trained(source: WebDatasetSource, workers: int) -> Probe:
        geometry = Geometry(random_crop=True, horizontal_flip=True)
        data = ImagenDataModule(source, source, text, 4, 8, 3, 4, workers, seed=0, geometry=geometry)
        probe = Probe()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(
            accelerator="cpu", max_steps=6, limit_val_batches=0, enable_checkpointing=False, **quiet
        )  # fmt: skip
        trainer.fit(probe, data)
        return probe

    folder, url = stored
    near, far = trained(opened(folder), 0), trained(opened(url, cache_bytes=700_000), 2)
    assert len(near.seen) == 6
    assert contents(far.seen) == contents(near.seen)
    assert torch.equal(far.layer.weight, near.layer.weight)
