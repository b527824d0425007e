import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from imagen.errors import UserError
from imagen.evaluation.results.archive import FILE, read_archive


def test_the_archive_gives_back_pictures_texts_and_leave_one_out_numbers(run):
    results, out = run
    archive = read_archive(out)
    assert archive.texts == list(results.texts[:3])
    assert archive.cells == [result.cell.name for result in results.cells]
    assert all(torch.equal(archive.pictures[name], pictures) for name, pictures in results.pictures.items())
    for result in results.cells:
        kept = archive.jackknives[result.cell.name]
        assert kept.keys() == result.jackknives.keys()
        for metric, jackknife in kept.items():
            assert jackknife.value == result.jackknives[metric].value
            assert torch.equal(jackknife.without, result.jackknives[metric].without)
            assert torch.equal(jackknife.sizes, result.jackknives[metric].sizes)


def test_groups_of_an_archive_without_their_sizes_are_taken_as_equal(run, tmp_path):
    """As the version that wrote it took them."""
    _, out = run
    with safe_open(out / FILE, framework="pt") as file:
        header = json.loads(file.metadata()["archive"])
    del header["group_sizes"]
    save_file(load_file(out / FILE), tmp_path / FILE, {"archive": json.dumps(header)})
    for metrics in read_archive(tmp_path).jackknives.values():
        for jackknife in metrics.values():
            assert jackknife.sizes.tolist() == [1.0] * len(jackknife.without)
            assert math.isfinite(jackknife.interval.estimate)


def test_no_archive_and_a_damaged_one_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=f"{FILE} cannot be read"):
        read_archive(tmp_path)
    (tmp_path / FILE).write_bytes(b"\xff" * 40)
    with pytest.raises(UserError, match="finish that evaluation"):
        read_archive(tmp_path)
