"""Fault injection: `make faults`. Imports once, forks each trial, and prints failure, trials, survived, target.

The numbers in brackets only name the rows; docs/reference/reliability.md states what each row promises.
"""

import os
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.faults import disks, processes, stores, strangers, training
from benchmarks.faults.forks import Row, may_mount
from imagen.commandline.command import prepare_environment

MALFORMED = "tests/app/test_malformed.py"


def rows(can_mount: bool) -> list[Row]:
    """All failures, in the order of their numbers."""
    simulated = "" if can_mount else "simulated by a limit on file sizes: no right to mount"
    return [
        Row("(1) kill -9 in training, 0 workers: bit-identical", 20, training.kills(0)),
        Row("(1) kill -9 in training, 2 workers: bit-identical", 20, training.kills(2)),
        Row("(1) workers changed on resume: bit-identical", 2, training.changed_workers),
        Row("(1) kill -9 of one of two processes, DDP: bit-identical", 6, processes.kills("ddp_sim")),
        Row("(1) the same with sharded weights, FSDP2", 6, processes.kills("fsdp_sim")),
        Row("(2) kill -9 inside a save: checkpoint whole", 10, disks.kills_in_a_save),
        Row("(2) the same of two processes, DDP", 4, processes.kills("ddp_sim", in_a_save=True)),
        Row("(2) the same of two processes, FSDP2", 4, processes.kills("fsdp_sim", in_a_save=True)),
        Row("(3) disk full in a save: old checkpoint intact", 3, disks.full, simulated),
        Row("(4) cannot write: refused in 5 s", 2 if can_mount else 0, disks.unwritable, simulated and "left out"),
        Row("(5) SIGTERM 143, SIGINT 130, bit-identical", 4, training.signals),
        Row("(5) SIGTERM to one of two, DDP: bit-identical", 2, processes.signals("ddp_sim")),
        Row("(5) SIGTERM to one of two, FSDP2: bit-identical", 2, processes.signals("fsdp_sim")),
        Row("(6) NaN loss: stopped, checkpoint finite", 4, training.not_a_number),
        Row("(7) average of bfloat16 weights moves", 1, training.average_of_bfloat16),
        Row("(8) one flipped bit of a checkpoint: noticed", 200, disks.flipped_checkpoints),
        Row("(8) one flipped bit of a stage: noticed", 200, disks.flipped_exports),
        Row("(8) one flipped bit of a cache shard: noticed", 200, stores.flipped_shards),
        Row("(9) cache builder killed: same files", 10, stores.killed_builders),
        Row("(9) second cache builder: refused in 2 s", 3, stores.second_builders),
        Row("(10) stale cache: refused, both values", 8, stores.stale_caches),
        Row("(11) malicious configurations: none run", 18, strangers.malicious_configurations),
        Row("(12) code in checkpoints, stages, judges: none run", 7, strangers.tests(MALFORMED, "-k", "evil")),
        Row("(13) pictures: as seen, or refused by name", 32, strangers.tests("tests/data/test_decode.py")),
        Row("(14) sweep of 12 cells killed: byte-equal", 10, stores.killed_sweeps),
        Row(
            "(15) curves of a killed run: those of a whole one", 1, strangers.tests("tests/app/test_training_curves.py")
        ),
        Row("(16) tar archives of strangers", 16, strangers.tests("tests/data/test_web_dataset.py")),
        Row("(17) YAML alias bomb: refused unexpanded", 1, strangers.tests(MALFORMED, "-k", "bomb")),
        Row("malformed inputs: one line each", 93, strangers.tests(MALFORMED)),
        Row("no connection is opened", 3, strangers.tests("tests/app/test_no_network.py")),
    ]


def main() -> None:
    prepare_environment()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    print(f"{'failure':<56} {'trials':>6} {'survived':>8} {'target':>6} {'seconds':>7}", flush=True)
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, row in enumerate(rows(may_mount(Path(folder) / "probe"))):
            place, begun = Path(folder) / str(number), time.monotonic()
            place.mkdir()
            survived, target = row.run(place, row.trials), row.trials
            seconds = time.monotonic() - begun
            print(f"{row.failure:<56} {target:>6} {survived:>8} {target:>6} {seconds:>7.0f} {row.note}", flush=True)
            lost += target - survived
    raise SystemExit(bool(lost))


if __name__ == "__main__":
    main()
