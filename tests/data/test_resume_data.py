"""A killed and resumed run sees the batches of an uninterrupted one, and ends with equal weights, bit for bit."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from litdata_files import picture_row, write_chunks
from PIL import Image
from torch import Tensor, nn

from imagen.data.batch import Batch
from imagen.data.image_folder import ImageFolderSource
from imagen.data.litdata_chunks.source import LitDataSource
from imagen.data.module import ImagenDataModule
from imagen.data.transforms import Geometry
from imagen.data.web_dataset import WebDatasetSource

ACCUMULATE = 2
STEPS = 6


class KilledError(RuntimeError):
    pass


class Probe(LightningModule):
    """The least that trains: remembers its batches, also in the folder `diary`, and dies before position `dies_at`."""

    def __init__(self, dies_at: int | None = None, diary: Path | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Conv2d(3, 2, 1)
        self.dies_at, self.seen, self.validated, self.diary = dies_at, [], [], diary

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if batch.position == self.dies_at:
            raise KilledError
        self.seen.append(batch)
        if self.diary is not None:
            with (self.diary / f"{batch.position}-{self.global_rank}").open("wb") as file:
                file.write(batch.images.numpy().tobytes())
        return self.layer(batch.images).square().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


@pytest.fixture
def squares(text, numbers):
    """squares(batch size, workers): ten pictures, windows of their squares."""

    def made(batch_size: int, workers: int) -> ImagenDataModule:
        geometry = Geometry(random_crop=True, horizontal_flip=True)
        source = numbers(10, 8, 12)
        return ImagenDataModule(source, source, text, 4, 8, 3, batch_size, workers, seed=0, geometry=geometry)

    return made


@pytest.fixture
def buckets(text, tmp_path: Path):
    """buckets(batch size, workers): a folder of pictures of many sizes, whole, in buckets."""
    folder, rows = tmp_path / "pictures", []
    folder.mkdir()
    for i in range(23):
        Image.new("RGB", ((9, 13), (13, 9), (12, 12))[i % 3], (10 * i, i, 0)).save(folder / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": f"number {i}"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))

    def made(batch_size: int, workers: int) -> ImagenDataModule:
        shapes = {"buckets": [[1, 1], [3, 4], [4, 3]], "bucket_steps": 4}
        geometry = Geometry(random_crop=True, horizontal_flip=True, **shapes)
        source = ImageFolderSource(folder)
        return ImagenDataModule(source, source, text, 4, 8, None, batch_size, workers, seed=0, geometry=geometry)

    return made


@pytest.fixture
def remote(text, tmp_path: Path, storage, tar_of, request):
    """remote(batch size, workers): pictures in archives in object storage, one of them kept on this disk."""
    for number in (0, 1):
        storage.put(f"{request.node.name}/{number}.tar", tar_of(range(12 * number, 12 * number + 12)))

    def made(batch_size: int, workers: int) -> ImagenDataModule:
        options = {"cache": tmp_path / "kept", "cache_bytes": 50_000}
        source = WebDatasetSource(f"s3://pictures/{request.node.name}", tmp_path / "index", **options)
        geometry = Geometry(random_crop=True, horizontal_flip=True)
        return ImagenDataModule(source, source, text, 4, 8, 3, batch_size, workers, seed=0, geometry=geometry)

    return made


@pytest.fixture
def chunks(text, tmp_path: Path, storage, request):
    """chunks(batch size, workers): pictures in LitData chunks in object storage, one of them kept on this disk."""
    for file in write_chunks(tmp_path / "chunks", [picture_row(i) for i in range(24)], 12).iterdir():
        storage.put(f"{request.node.name}-chunks/{file.name}", file)

    def made(batch_size: int, workers: int) -> ImagenDataModule:
        options = {"cache": tmp_path / "kept", "cache_bytes": 2_000}
        source = LitDataSource(f"s3://pictures/{request.node.name}-chunks", tmp_path / "index", **options)
        geometry = Geometry(random_crop=True, horizontal_flip=True)
        return ImagenDataModule(source, source, text, 4, 8, 3, batch_size, workers, seed=0, geometry=geometry)

    return made


@pytest.fixture(params=["squares", "buckets", "remote", "chunks"])
def fit(request, tmp_path: Path):
    make = request.getfixturevalue(request.param)

    def run(probe: Probe, workers: int, resume: bool = False, processes: int = 1, steps: int = STEPS) -> Probe:
        data = make(4 // processes, workers)
        checkpoints = ModelCheckpoint(
            tmp_path, "last", every_n_train_steps=2, save_on_train_epoch_end=False, enable_version_counter=False
        )
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            devices=processes,
            strategy="ddp_fork" if processes > 1 else "auto",
            accumulate_grad_batches=ACCUMULATE,
            val_check_interval=4,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            callbacks=[checkpoints],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(probe, data, ckpt_path=tmp_path / "last.ckpt" if resume else None, weights_only=True)
        return probe

    return run


def contents(batches: list[Batch]) -> list[tuple]:
    return [(batch.position, batch.captions, batch.images.numpy().tobytes()) for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_within_an_accumulation_window_resumes_as_if_nothing_had_happened(fit, workers):
    whole = fit(Probe(), 0)
    assert [batch.position for batch in whole.seen] == list(range(STEPS * ACCUMULATE))
    with pytest.raises(KilledError):
        fit(Probe(dies_at=7), workers)  # batch 6 is in an unfinished window; the checkpoint is of batches 0 to 3
    resumed = fit(Probe(), workers, resume=True)
    assert contents(resumed.seen) == contents(whole.seen[4:])
    once = len(whole.validated) // 3
    assert contents(whole.validated) == 3 * contents(whole.validated[:once])
    assert contents(resumed.validated) == contents(whole.validated[once:])
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    assert torch.equal(resumed.layer.bias, whole.layer.bias)


def test_a_run_goes_on_with_other_numbers_of_workers_as_if_nothing_had_happened(fit):
    whole = fit(Probe(), 0)
    parts = [fit(Probe(), workers, resume=steps > 2, steps=steps) for workers, steps in ((0, 2), (2, 4), (1, 6))]
    assert [batch for part in parts for batch in contents(part.seen)] == contents(whole.seen)
    assert torch.equal(parts[-1].layer.weight, whole.layer.weight)


def diary_of(folder: Path) -> dict[int, bytes]:
    """The pictures of each batch, those of rank 0 first."""
    pages: dict[int, bytes] = {}
    for page in sorted(folder.iterdir(), key=lambda page: [int(part) for part in page.name.split("-")]):
        position = int(page.name.split("-")[0])
        pages[position] = pages.get(position, b"") + page.read_bytes()
    return pages


def test_two_processes_see_the_batches_of_one_that_are_twice_as_large(fit, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    whole = fit(Probe(diary=one), 0)
    fit(Probe(diary=two), 0, processes=1, steps=2)
    halves = fit(Probe(diary=two), 0, processes=2, resume=True)
    assert diary_of(two) == diary_of(one)
    # Gradients are averaged in another order, so the weights agree to rounding and not to the bit.
    torch.testing.assert_close(halves.layer.weight, whole.layer.weight, rtol=1e-5, atol=1e-6)
