"""Checkpoints are whole or absent, and run no code."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from imagen.errors import UserError
from imagen.stages.checkpoint_io import AtomicCheckpointIO


def test_a_checkpoint_comes_back_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.arange(3), "global_step": 7}, path)
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 7
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(100)}, path)
    whole = path.read_bytes()
    for offset in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        with pytest.raises(UserError, match="damaged"):
            AtomicCheckpointIO().load_checkpoint(path)


def test_a_save_that_fails_keeps_the_checkpoint_before_it(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left") as caught:
        AtomicCheckpointIO().save_checkpoint({"global_step": 2}, path)
    assert caught.value.environment
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 1
    assert not list(tmp_path.glob(".*.part"))


class Killed(BaseException):
    pass


def test_kills_before_the_new_file_is_installed_keep_the_checkpoint_before_them(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, path)
    rename = Path.replace

    def killed(self, target):
        if target == path:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        for step in (2, 3, 4):
            with pytest.raises(Killed):
                AtomicCheckpointIO().save_checkpoint({"global_step": step}, path)
            assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 1
    AtomicCheckpointIO().save_checkpoint({"global_step": 5}, path)
    assert len((tmp_path / "last.ckpt.sha256").read_text().split()) == 1


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_with_code_in_it_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": Evil()}, tmp_path / "zip.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Evil()))
    for name in ("zip.ckpt", "bare.ckpt"):
        with pytest.raises(UserError, match="cannot be read"):
            AtomicCheckpointIO().load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_gets_one_line(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read") as caught:
        AtomicCheckpointIO().load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"w": torch.zeros(1 << 20)}, tmp_path / "whole.ckpt")
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in whole.infolist():
            bomb.writestr(entry.filename, whole.read(entry))
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="a zip bomb"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_the_format_before_zip_is_refused_since_it_allocates_what_it_claims(tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save({"w": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="cut or damaged"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_a_checkpoint_goes_through_no_link(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "last.ckpt"
    victim.write_text("mine")
    for name in (".last.ckpt.part", ".last.ckpt.sha256.part", "last.ckpt.sha256"):
        (tmp_path / name).symlink_to(victim)
    AtomicCheckpointIO().save_checkpoint({"w": torch.zeros(3)}, path)
    assert victim.read_text() == "mine"
    assert AtomicCheckpointIO().load_checkpoint(path)["w"].tolist() == [0, 0, 0]
