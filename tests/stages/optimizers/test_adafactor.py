"""Adafactor: torch's numbers for matrices, less memory for convolutions."""

import pytest
import torch
from torch import nn

from imagen.stages.optimizers.adafactor import Adafactor


def trained(layer: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor) -> None:
    for _ in range(5):
        optimizer.zero_grad()
        (layer(inputs) - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("settings", [{"lr": 0.1}, {"lr": 0.02, "d": 2.0, "weight_decay": 0.1, "eps": (1e-5, 0.01)}])
def test_matrices_and_vectors_take_the_steps_of_torch(settings):
    layers = []
    for make in (Adafactor, torch.optim.Adafactor):
        torch.manual_seed(0)
        layer = nn.Linear(5, 7)
        trained(layer, make(layer.parameters(), **settings), torch.randn(16, 5))
        layers.append(layer)
    torch.testing.assert_close(layers[0].state_dict(), layers[1].state_dict(), rtol=1e-5, atol=1e-6)


def test_a_convolution_takes_the_steps_of_its_matrix():
    torch.manual_seed(0)
    convolution, matrix, images = nn.Conv2d(3, 4, 2, stride=2), nn.Linear(12, 4), torch.randn(8, 3, 2, 2)
    with torch.no_grad():
        matrix.weight.copy_(convolution.weight.permute(0, 2, 3, 1).flatten(1))
        matrix.bias.copy_(convolution.bias)
    trained(convolution, Adafactor(convolution.parameters(), lr=0.1), images)
    trained(nn.Sequential(matrix, nn.Unflatten(1, (4, 1, 1))), Adafactor(matrix.parameters(), lr=0.1),
            images.permute(0, 2, 3, 1).flatten(1))  # fmt: skip
    torch.testing.assert_close(convolution.weight.permute(0, 2, 3, 1).flatten(1), matrix.weight)


def test_the_state_of_a_convolution_is_a_row_and_a_column():
    layer = nn.Conv2d(64, 32, 3, bias=False)
    optimizer = Adafactor(layer.parameters(), lr=0.1)
    trained(layer, optimizer, torch.randn(1, 64, 4, 4))
    state = optimizer.state[layer.weight]
    assert {name: value.numel() for name, value in state.items() if name != "step"} == {"rows": 32, "columns": 9 * 64}


def test_a_gradient_of_zeros_moves_nothing():
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.zeros(3, 3)
    Adafactor([layer.weight], lr=0.1).step()
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"beta2_decay": 0.5}, {"d": 0.5}, {"eps": (None, -1.0)}])
def test_values_outside_their_range_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        Adafactor([torch.zeros(2, 2, requires_grad=True)], **({"lr": 0.1} | wrong))
