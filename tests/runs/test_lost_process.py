"""What a training says when another of its processes has ended."""

import pytest
from lightning import LightningDataModule, LightningModule, Trainer
from torch.distributed import DistBackendError

from imagen.errors import UserError
from imagen.runs.trainer import fit

GLOO = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer")


class Ended(Trainer):
    """A trainer whose training ends in `error` at step 7."""

    world_size, global_rank, global_step = 2, 1, 7

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fit(self, *arguments: object, **options: object) -> None:
        raise self.error


class Alone(Ended):
    """The same of a single process."""

    world_size = 1


@pytest.mark.parametrize("error", [GLOO, DistBackendError("NCCL error: remote process exited")])
def test_a_lost_process_is_told_in_one_line_that_says_how_to_go_on(error):
    with pytest.raises(
        UserError, match=r"^process 1 of 2 stops at step 7: another one has ended .* goes on from"
    ) as told:
        fit(Ended(error), LightningModule(), LightningDataModule(), None)
    assert told.value.environment


@pytest.mark.parametrize("trainer", [Ended(RuntimeError("shapes do not fit")), Alone(GLOO)])
def test_other_errors_are_not_taken_for_one(trainer):
    with pytest.raises(RuntimeError) as raised:
        fit(trainer, LightningModule(), LightningDataModule(), None)
    assert raised.value is trainer.error
