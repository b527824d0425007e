"""Every file in conf/data builds a DataModule that delivers batches."""

import io
import tarfile
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from imagen.data.module import ImagenDataModule, make_data

CONF = Path(__file__).parents[2] / "conf" / "data"


def configured(
    choice: str, *overrides: str, resolutions: tuple[int, ...] = (4, 8, 16), stage: int = 0
) -> ImagenDataModule:
    """The DataModule of conf/data/`choice`.yaml, with as much around it as train.yaml would give."""
    around = {
        "seed": 0,
        "resolutions": list(resolutions),
        "stage": {"resolution": resolutions[stage]},
        "text": {"_target_": "imagen.text.sources.NoText", "features": 2},
        "paths": {"cache": "/tmp/unused"},
    }
    data = OmegaConf.load(CONF / f"{choice}.yaml")
    config = OmegaConf.merge(around, {"data": data}, OmegaConf.from_dotlist(["data.batch_size=3", *overrides]))
    assert isinstance(config, DictConfig)
    return make_data(config.data)


def serve(data: ImagenDataModule, side: int, held_out: int) -> None:
    data.prepare_data()
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (3, 3, side, side)
    assert sum(len(batch.ids) for batch in data.val_dataloader()) == held_out


@pytest.mark.parametrize(("stage", "drawn"), [(0, 8), (1, 8), (2, 16)])
def test_shapes_are_drawn_as_large_as_the_next_stage_makes_them(stage, drawn):
    data = configured("shapes", "data.validation.size=4", stage=stage)
    assert data.sizes[0].source == (drawn, drawn)
    assert data.train[0].image.shape == (drawn, drawn, 3)
    serve(data, side=(4, 8, 16)[stage], held_out=4)


def test_openmoji_needs_no_path(few, tmp_path):
    data = configured("openmoji", f"paths.cache={tmp_path}")
    assert [len(source) for source in (data.train, data.validation)] == [5, 5]
    assert data.train[0].image.shape == (8, 8, 3)
    serve(data, side=4, held_out=5)


def test_a_folder_is_given_by_its_path_and_split(folder):
    data = configured("image_folder", f"data.path={folder()}", "data.train.n=3", "data.num_workers=0")
    serve(data, side=4, held_out=2)
    assert len(data.train) == 4


def test_shards_are_given_by_their_folder(folder, tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for i in range(6):
            tar.add(folder() / f"{i}.png", f"{i}.png")
            caption = tarfile.TarInfo(f"{i}.txt")
            caption.size = 1
            tar.addfile(caption, io.BytesIO(b"x"))
    serve(configured("webdataset", f"data.path={tmp_path}", f"paths.cache={tmp_path}", "data.train.n=3"), 4, held_out=2)


def test_parquet_is_given_by_its_path(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pictures = [Image.new("RGB", (9, 9)) for _ in range(5)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    table = datasets.Dataset.from_dict({"image": pictures, "text": list("abcde")}, features)
    table.to_parquet(tmp_path / "rows.parquet")
    path = tmp_path / "rows.parquet"
    serve(configured("hub", f"data.path={path}", "data.train.n=2", "data.num_workers=0"), side=4, held_out=3)
