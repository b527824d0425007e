"""The training pictures nearest to each picture, and how much nearer the first is than the next.

A distance alone does not tell a copy from a new picture: a blurred copy is as far from its original as a new drawing
from its closest relative. So a picture is judged by the ratio of its distance to the nearest training picture to the
mean distance of the next ones, as in the ratio test of Lowe (2004) and the attack of Carlini et al. (2023): a copy is
near one picture alone.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8

from imagen.errors import UserError

NEXT = 3
"""The nearest is compared with this many next ones."""

NEIGHBOURS = 1 + NEXT
SPARE = 4
"""Candidates beyond the nearest whose distance is computed exactly, against the rounding of the fast search."""

CHUNK = 4096
"""Training pictures in float32 at a time: 50 MB of 32 × 32 pixels."""

QUERIES = 2048

Bytes = UInt8[np.ndarray, "rows values"]
"""Pictures as rows of bytes."""


@dataclass(frozen=True)
class Neighbours:
    """The `NEIGHBOURS` nearest training pictures of each picture, nearest first: their rows and distances. A distance
    is the root mean square difference of all values, 0 to 1."""

    rows: Int64[np.ndarray, "pictures neighbours"]
    distances: Float64[np.ndarray, "pictures neighbours"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nearest(self) -> Float64[np.ndarray, "pictures"]:
        """The distance to the nearest training picture."""
        return self.distances[:, 0]

    @property
    def ratios(self) -> Float64[np.ndarray, "pictures"]:
        """Distance to the nearest training picture / mean distance to the next `NEXT`: 0 if it is a copy, at most 1."""
        return self.distances[:, 0] / self.distances[:, 1:].mean(axis=1)

    def part(self, start: int, stop: int) -> "Neighbours":
        """Those of pictures `start` to `stop`."""
        return Neighbours(self.rows[start:stop], self.distances[start:stop])


def different(pictures: UInt8[np.ndarray, "rows values"]) -> Int64[np.ndarray, "rows"]:
    """For each row the first row with the same bytes. A set that holds a picture twice would hide every copy of it,
    because the nearest and the next would be equally near."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(_digest(row), index) for index, row in enumerate(pictures)], np.int64)


def nearest(
    pictures: UInt8[np.ndarray, "pictures values"],
    training: UInt8[np.ndarray, "training values"],
    rows: Int64[np.ndarray, "searched"],
    chunk: int = CHUNK,
) -> Neighbours:
    """The nearest of `training[rows]`, in which no two pictures may be equal. `training` may be a mapped file; `chunk`
    rows of it are in memory at a time. Exhaustive search: time grows with pictures × rows, memory does not.

    Raises:
        UserError: if there are fewer than `NEIGHBOURS` rows.
    """
    if len(rows) < NEIGHBOURS:
        raise UserError(f"metrics.training has {len(rows)} different pictures; at least {NEIGHBOURS} are needed")
    found = [
        _nearest(pictures[start : start + QUERIES], training, rows, chunk) for start in range(0, len(pictures), QUERIES)
    ]
    if not found:
        return Neighbours(np.zeros((0, NEIGHBOURS), np.int64), np.zeros((0, NEIGHBOURS)))
    return Neighbours(np.concatenate([one.rows for one in found]), np.concatenate([one.distances for one in found]))


def _nearest(pictures: np.ndarray, training: np.ndarray, rows: np.ndarray, chunk: int) -> Neighbours:
    queries = _centred(pictures)
    best = torch.empty((len(queries), 0))
    candidates = torch.empty((len(queries), 0), dtype=torch.int64)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        pixels = _centred(training[part])
        # |q - t|² without |q|², which does not change the order.
        scores = torch.addmm(pixels.pow(2).sum(dim=1), queries, pixels.T, alpha=-2)
        best = torch.cat([best, scores], dim=1)
        candidates = torch.cat([candidates, torch.from_numpy(part).expand(len(queries), -1)], dim=1)
        best, index = best.topk(min(NEIGHBOURS + SPARE, best.shape[1]), largest=False)
        candidates = candidates.gather(1, index)
    return _exact(pictures, training, np.sort(candidates.numpy(), axis=1))


def _exact(pictures: np.ndarray, training: np.ndarray, candidates: np.ndarray) -> Neighbours:
    """The nearest of a few candidates by integer arithmetic; of equally near ones, the first rows."""
    squares = np.empty(candidates.shape, np.int64)
    for column in range(candidates.shape[1]):
        squares[:, column] = _squares(pictures, training[candidates[:, column]])
    order = np.argsort(squares, axis=1, kind="stable")[:, :NEIGHBOURS]
    squares = np.take_along_axis(squares, order, axis=1)
    return Neighbours(np.take_along_axis(candidates, order, axis=1), _root_mean(squares, pictures.shape[1]))


def distances(
    one: UInt8[np.ndarray, "pictures values"], other: UInt8[np.ndarray, "pictures values"]
) -> Float64[np.ndarray, "pictures"]:
    """Root mean square difference of each row of `one` and the same row of `other`, 0 to 1."""
    return _root_mean(_squares(one, other), one.shape[1])


def _digest(row: np.ndarray) -> bytes:
    """16 bytes instead of 3 kB, because there may be 100,000 rows."""
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.square(one.astype(np.int32) - other.astype(np.int32)).sum(axis=1, dtype=np.int64)


def _root_mean(squares: np.ndarray, values: int) -> np.ndarray:
    return np.sqrt(squares / values) / 255


def _centred(pictures: np.ndarray) -> torch.Tensor:
    """float32 in [-1, 1]: small norms lose fewer digits in |q|² - 2qt + |t|²."""
    return torch.from_numpy(pictures.astype(np.float32)).div_(127.5).sub_(1)
