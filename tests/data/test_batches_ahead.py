"""Batches that a thread embeds and pins ahead, and the number of worker processes."""

import time
from itertools import islice
from threading import Thread, current_thread, main_thread
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from imagen.data.module import ImagenDataModule
from imagen.errors import UserError
from imagen.text.embeddings import TextEmbeddings
from imagen.text.encoders import TextEncoder
from imagen.text.sources import OnlineText
from imagen.text.tokens import EncodingCounts


class WatchedEncoder(TextEncoder):
    """Says in which threads it works, and refuses to work in two at a time, as a tokenizer does."""

    features, settings, fingerprint = 2, {}, {"encoder": "watched"}

    def __init__(self) -> None:
        self.threads, self.busy = set(), False

    def __call__(self, captions: list[str]) -> TextEmbeddings:
        assert not self.busy, "already borrowed"
        self.busy = True
        self.threads.add(current_thread())
        time.sleep(0.01)
        self.busy = False
        return TextEmbeddings(torch.full((len(captions), 2), 1.0), (1,) * len(captions))

    def take_counts(self) -> EncodingCounts:
        return EncodingCounts(max_length=1)


@pytest.fixture
def data(numbers):
    def make(encoder: WatchedEncoder, **options: object) -> ImagenDataModule:
        given = {"batch_size": 4, "num_workers": 0, "seed": 0} | options
        return ImagenDataModule(numbers(10), numbers(7), OnlineText(encoder), 8, 8, None, **given)

    return make


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_made_ahead_are_those_made_when_asked_for(workers, data):
    ahead, plain = WatchedEncoder(), WatchedEncoder()
    batches = list(islice(data(ahead, num_workers=workers, ahead=2).train_dataloader(), 6))
    wanted = list(islice(data(plain).train_dataloader(), 6))
    assert plain.threads == {main_thread()}
    assert main_thread() not in ahead.threads
    for one, other in zip(batches, wanted, strict=True):
        assert (one.position, one.captions) == (other.position, other.captions)
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("images", "text", "ids"))


def test_an_encoder_works_for_one_thread_at_a_time(data):
    encoder = WatchedEncoder()
    module = data(encoder, ahead=2)
    batches = iter(module.train_dataloader())
    other = Thread(target=lambda: [module.text.embed(["a"]) for _ in range(10)])
    other.start()
    for _ in range(10):
        next(batches)
        module.text.embed(["b"])
    other.join()
    assert len(encoder.threads) == 3


def test_for_a_gpu_the_thread_pins_every_tensor_of_a_batch(data, monkeypatch):
    pinned = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(current_thread() is main_thread())
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    for kind, count in (("cpu", 0), ("cuda", 4)):
        module = data(WatchedEncoder())
        strategy = SimpleNamespace(root_device=torch.device(kind))
        module.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1, num_devices=1)
        list(module.val_dataloader())
        assert pinned == [False] * count * 2


@pytest.mark.parametrize(
    ("cores", "trainers", "tasks", "workers"),
    [(2, 1, "", 2), (16, 4, "", 4), (64, 2, "", 8), (4, 8, "", 1), (6, 8, "8", 6), (16, 8, "1", 2)],
)
def test_workers_are_as_many_as_cores_for_each_trainer(cores, trainers, tasks, workers, data, monkeypatch):
    monkeypatch.setattr("imagen.concurrency.processes.cores", lambda: cores)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", tasks)
    module = data(WatchedEncoder(), num_workers=None, prefetch_factor=3)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1, num_devices=trainers)
    loader = module.train_dataloader().loader
    assert (loader.num_workers, loader.prefetch_factor) == (workers, 3)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"prefetch_factor": 0}, "data.prefetch_factor=0: 1 or more"), ({"ahead": -1}, "data.ahead=-1: 0 or more")],
)
def test_no_other_numbers_are_taken(option, message, data):
    with pytest.raises(UserError, match=message):
        data(WatchedEncoder(), **option)
