"""The averaged weights."""

import torch
from torch import nn

from imagen.stages.ema import WeightAverage


def test_the_average_follows_the_recurrence_in_float32():
    module = nn.Linear(3, 2).bfloat16()
    average = WeightAverage(module, decay=0.5)
    expected = module.weight.float().clone()
    for step in range(1, 20):
        with torch.no_grad():
            module.weight.add_(0.1)
        average.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.float()
    assert average.module.weight.dtype == torch.float32
    torch.testing.assert_close(average.module.weight, expected)


def test_the_average_is_frozen_and_stays_in_evaluation_mode():
    average = WeightAverage(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), decay=0.9).train()
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not any(module.training for module in average.modules())
