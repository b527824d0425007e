import pytest
import torch

from imagen.errors import UserError
from imagen.evaluation.archive import FILE, read_archive


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


def test_no_archive_and_a_damaged_one_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=f"{FILE} cannot be read"):
        read_archive(tmp_path)
    (tmp_path / FILE).write_bytes(b"\xff" * 40)
    with pytest.raises(UserError, match="finish that evaluation"):
        read_archive(tmp_path)
