"""Pieces of weights: what is cut, put together, and stepped on."""

import copy
from functools import partial

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from benchmarks.together import train_together
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.parameterisations import EpsPrediction
from imagen.diffusion.weightings import UnweightedLoss
from imagen.errors import UserError
from imagen.stages.ema import WeightAverage
from imagen.stages.optimizers.adafactor import Adafactor
from imagen.stages.optimizers.muon import Muon
from imagen.stages.sharding.shard import gathered, innermost_blocks, own_piece, piece_like, shard_denoiser, whole

OPTIMIZERS = {
    "adamw": partial(torch.optim.AdamW, lr=0.1, fused=True),
    "adam": partial(torch.optim.Adam, lr=0.1),
    "adafactor": partial(Adafactor, lr=0.1),
    "muon": partial(
        Muon, lr=0.01, momentum=0.9, iterations=3, min_side=2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1
    ),
}


def all_processes() -> DeviceMesh:
    distributed.init_process_group("gloo")
    return init_device_mesh("cpu", (distributed.get_world_size(),))


def network() -> nn.Sequential:
    """With fewer outputs than there are processes, as many, and a number that does not divide."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 7, 1), nn.Flatten(), nn.Linear(7, 2), nn.Linear(2, 1)
    return nn.Sequential(*layers)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    images = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    (model(images) - 1).square().mean().backward()
    optimizer.step()


def step_together() -> None:
    mesh = all_processes()
    for name, make in OPTIMIZERS.items():
        one = network()
        pieces = fully_shard(copy.deepcopy(one), mesh=mesh)
        averages = WeightAverage(one, 0.5), WeightAverage(network(), 0.5)
        fully_shard(averages[1].module, mesh=mesh)
        optimizers = make(one.parameters()), make(pieces.parameters())
        for number in range(3):
            for model, optimizer, average in zip((one, pieces), optimizers, averages, strict=True):
                step(model, optimizer, number)
                average.update(model, number + 1)
        for model, other in ((one, pieces), (averages[0].module, averages[1].module)):
            torch.testing.assert_close(gathered(other.state_dict(), keep=True), dict(model.state_dict()), msg=name)
        states = [optimizer.state_dict() for optimizer in optimizers]
        torch.testing.assert_close(gathered(states[1], keep=True), states[0], msg=name)


@pytest.mark.parametrize("processes", [2, 3])
def test_steps_and_averages_of_pieces_are_those_of_the_whole(processes):
    train_together(step_together, processes)


def cut_and_put_together() -> None:
    mesh, tensor, column = all_processes(), torch.arange(15.0).reshape(5, 3), torch.arange(3.0)[None]
    weight = fully_shard(nn.Linear(3, 5), mesh=mesh).weight
    cut = piece_like(tensor, weight)
    assert len(own_piece(cut)) == (3, 2)[distributed.get_rank()]
    assert torch.equal(whole(cut), tensor)
    assert torch.equal(own_piece(piece_like(column, weight)), column)
    assert piece_like(torch.tensor(7.0), weight).ndim == 0
    kept = gathered({"state": [cut], "step": 7}, keep=distributed.get_rank() == 0)
    assert kept["step"] == 7
    if distributed.get_rank() == 0:
        assert torch.equal(kept["state"][0], tensor)
    else:
        assert kept["state"] == [None]


def test_a_tensor_is_cut_like_a_weight_and_put_together_again():
    train_together(cut_and_put_together)


def test_without_sharding_tensors_stay_as_they_are():
    tensor, weight = torch.ones(2), torch.zeros(2)
    assert whole(tensor) is own_piece(tensor) is piece_like(tensor, weight) is gathered(tensor, keep=True) is tensor


class Blocks(nn.Module):
    """A list of lists, one of modules, and one of modules without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.ModuleList([nn.Linear(1, 1)]) for _ in range(2))
        self.more, self.none = nn.ModuleList([nn.Linear(1, 1)]), nn.ModuleList([nn.Identity()])


def test_the_blocks_are_what_lists_of_modules_hold_innermost():
    network = Blocks()
    assert set(innermost_blocks(network)) == {network.more[0], network.levels[0][0], network.levels[1][0]}


def shard_what_cannot_be() -> None:
    denoiser = Denoiser(nn.Linear(2, 2), EpsPrediction(), UnweightedLoss())
    denoiser.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(UserError, match=r"scale lie outside of stage\.denoiser\.network .* use trainer=ddp"):
        shard_denoiser(denoiser, all_processes())


def test_weights_that_nobody_would_share_are_refused():
    train_together(shard_what_cannot_be)
