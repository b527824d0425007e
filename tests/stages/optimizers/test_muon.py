"""Muon: orthogonal steps for matrices, Adam's for the rest."""

import copy

import pytest
import torch
from torch import nn

from imagen.stages.optimizers.muon import MATCHED_RMS, QUINTIC, Muon, orthogonal_factor

SETTINGS = {
    "lr": 0.01, "momentum": 0.9, "iterations": 5, "min_side": 8, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0,
}  # fmt: skip


def optimizer(parameters, **changed) -> Muon:
    return Muon(parameters, **{**SETTINGS, **changed})


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Flatten(), nn.Linear(24, 8), nn.Linear(8, 2)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def train(model: nn.Module, using: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step % 2))
        using.zero_grad()
        loss = (model(images) - images.mean((2, 3))[:, :2]).square().mean()
        loss.backward()
        using.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("shape", [(32, 32), (16, 100), (100, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    factor = orthogonal_factor(matrix, 8)
    kept = u.T @ factor @ v.T
    assert kept.diagonal()[values > 0.01 * values.max()].sub(1).abs().max() < 0.35
    assert (kept - kept.diagonal().diag()).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(32, 32), (16, 100), (100, 16)])
def test_it_is_the_iteration_of_newton_and_schulz(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b, c = QUINTIC
    x = matrix / matrix.norm()
    for _ in range(4):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    torch.testing.assert_close(orthogonal_factor(matrix, 4), x)
    torch.testing.assert_close(orthogonal_factor(matrix.float(), 4), x.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_takes_the_step_of_its_matrix_however_it_lies_in_memory(memory_format):
    weight, gradient = torch.randn(2, 16, 12, 3, 3, generator=torch.Generator().manual_seed(0))
    convolution = nn.Parameter(weight.clone(memory_format=memory_format))
    matrix = nn.Parameter(weight.flatten(1).clone())
    convolution.grad, matrix.grad = gradient.clone(memory_format=memory_format), gradient.flatten(1)
    for parameter in (convolution, matrix):
        optimizer([parameter]).step()
    torch.testing.assert_close(convolution.detach().flatten(1), matrix.detach())


def test_zeros_stay_zeros():
    assert orthogonal_factor(torch.zeros(8, 9), 3).abs().max() == 0


def test_a_step_of_a_matrix_has_adams_size_whatever_the_gradient():
    for scale in (1e-3, 1e3):
        weight = nn.Parameter(torch.zeros(32, 64))
        weight.grad = scale * torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
        optimizer([weight], lr=1.0).step()
        assert weight.detach().square().mean().sqrt() == pytest.approx(MATCHED_RMS, rel=0.3)


def test_the_second_step_goes_along_nesterovs_momentum():
    first, second = torch.randn(2, 8, 12, generator=torch.Generator().manual_seed(0))
    weight = nn.Parameter(torch.zeros(8, 12))
    using = optimizer([weight], lr=1.0, momentum=0.8)
    weight.grad = first
    using.step()
    before = weight.detach().clone()
    weight.grad = second
    using.step()
    mean = 0.8 * 0.2 * first + 0.2 * second
    expected = orthogonal_factor(0.2 * second + 0.8 * mean, 5) * MATCHED_RMS * 12**0.5
    torch.testing.assert_close(before - weight.detach(), expected, rtol=1e-4, atol=1e-5)


def test_small_matrices_and_vectors_take_the_steps_of_adam():
    ours = [nn.Parameter(torch.randn(5, 40)), nn.Parameter(torch.randn(40))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    using = optimizer(ours), torch.optim.Adam(theirs, lr=0.01, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for each in using:
            each.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_decay_shrinks_matrices_alone():
    matrix, vector = nn.Parameter(torch.ones(8, 8)), nn.Parameter(torch.ones(8))
    matrix.grad, vector.grad = torch.zeros(8, 8), torch.zeros(8)
    optimizer([matrix, vector], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(matrix.detach(), torch.full((8, 8), 0.95))
    assert vector.detach().eq(1).all()


def test_what_has_no_gradient_is_left_alone():
    weight = nn.Parameter(torch.ones(8, 8))
    optimizer([weight], weight_decay=0.5).step()
    assert weight.detach().eq(1).all()


def test_it_learns_and_resumes_from_its_state_bit_for_bit():
    whole = network()
    using = optimizer(whole.parameters())
    losses = train(whole, using, range(20))
    halfway, state = copy.deepcopy(whole.state_dict()), copy.deepcopy(using.state_dict())
    losses += train(whole, using, range(20, 40))
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])
    again = network()
    again.load_state_dict(halfway)
    resumed = optimizer(again.parameters())
    resumed.load_state_dict(state)
    train(again, resumed, range(20, 40))
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "wrong",
    [{"lr": -1.0}, {"eps": 0.0}, {"iterations": 0}, {"momentum": 1.0}, {"betas": (0.9, 1.0)}, {"weight_decay": -1.0}],
)
def test_a_value_outside_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        optimizer(network().parameters(), **wrong)
