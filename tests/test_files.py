"""Files in folders that may belong to somebody else."""

import os
import stat

import pytest
from safetensors import SafetensorError

from imagen.errors import UserError
from imagen.files import open_regular, read_tensors, replacing, sha256_of_file, write_atomically, write_json
from imagen.locks import hold, only_builder, only_trainer
from imagen.pictures import save_png


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("mine")
    return path


def test_a_link_is_replaced_and_what_it_names_is_not_touched(tmp_path, victim):
    out = tmp_path / "README.md"
    out.symlink_to(victim)
    write_atomically(out, b"new")
    assert victim.read_text() == "mine"
    assert out.read_bytes() == b"new"
    assert not out.is_symlink()


def test_a_link_under_the_name_of_the_partial_file_is_not_written_through(tmp_path, victim):
    (tmp_path / f".out.{os.getpid()}.part").symlink_to(victim)
    write_json({"a": 1}, tmp_path / "out")
    assert victim.read_text() == "mine"
    assert stat.S_ISREG((tmp_path / "out").lstat().st_mode)


def test_pictures_are_not_written_through_a_link(tmp_path, victim):
    from numpy import zeros

    (tmp_path / "0.png").symlink_to(victim)
    save_png(zeros((2, 2, 3), "uint8"), tmp_path / "0.png", {})
    assert victim.read_text() == "mine"


def test_a_picture_carries_no_number_that_json_does_not_have(tmp_path):
    from numpy import zeros

    with pytest.raises(ValueError, match="JSON"):
        save_png(zeros((2, 2, 3), "uint8"), tmp_path / "0.png", {"weight": float("inf")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lock", [lambda folder: hold(folder / "lock", wait=True), only_builder, only_trainer])
def test_locks_do_not_empty_the_file_that_a_link_names(lock, tmp_path, victim):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "lock").symlink_to(victim)
    with pytest.raises(UserError, match="is a symbolic link"), lock(folder):
        pass
    assert victim.read_text() == "mine"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    out = tmp_path / "out"
    out.write_text("old")

    def write() -> None:
        with replacing(out) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert out.read_text() == "old"


@pytest.mark.parametrize("read", [open_regular, sha256_of_file, read_tensors])
def test_a_named_pipe_is_refused_and_not_waited_for(read, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="not a regular file"):
        read(pipe)


def test_damaged_tensors_are_for_the_caller_to_name(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(SafetensorError):
        read_tensors(tmp_path / "x.safetensors")
