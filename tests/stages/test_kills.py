"""Rows of `make faults`, with fewer trials."""

import pytest

from benchmarks.faults import disks, strangers


@pytest.mark.parametrize(
    ("row", "trials"),
    [(disks.kills_in_a_save, 2), (disks.full, 1), (strangers.malicious_configurations, len(strangers.PAYLOADS))],
)
def test_every_trial_is_survived(row, trials, tmp_path):
    assert row(tmp_path, trials) == trials
