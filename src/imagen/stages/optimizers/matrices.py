"""Weights as matrices."""

from torch import Tensor


def as_matrix(parameter: Tensor) -> Tensor:
    """(outputs, taps × inputs): the order in which a channels_last convolution lies in memory."""
    return parameter.movedim(1, -1).flatten(1)


def from_matrix(matrix: Tensor, parameter: Tensor) -> Tensor:
    """What `as_matrix` made of a tensor of the shape of `parameter`, in that shape again."""
    return matrix.reshape(parameter.movedim(1, -1).shape).movedim(-1, 1)
