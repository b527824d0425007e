"""Commands that run at the same time, each on its share of the cores, with a name before its lines."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from threading import Thread

from imagen.concurrency.processes import threads_each
from imagen.places import ROOT


def run_alone(arguments: Sequence[str]) -> int:
    """Run `python <arguments>` in the folder that holds train.py; its exit code.

    When this process is interrupted, the other is asked to stop and waited for, so that a training saves first.
    """
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, process_group=0)  # as in `_start`
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def run_together(commands: Mapping[str, str]) -> int:
    """Run `python <arguments>` for every name; 0, or the exit code of the first that fails.

    Side by side, small networks train faster than one after the other on all cores: their steps are too short to be
    divided well. When one fails, or this process is interrupted, the others are asked to stop and waited for; a
    training saves its checkpoint first.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads_each(max(1, len(commands))))}
    width = max(map(len, commands), default=0)
    processes: list[subprocess.Popen[str]] = []
    relays: list[Thread] = []
    try:
        for name, arguments in commands.items():
            processes.append(_start(arguments, environment))
            relays.append(Thread(target=_relay, args=(f"{name:{width}}", processes[-1])))
            relays[-1].start()
        return _first_failure(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for relay in relays:
            relay.join()
        for process in processes:
            process.wait()


def _start(arguments: str, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *shlex.split(arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",  # a relay that failed on an undecodable byte would leave its process waiting
        process_group=0,  # Ctrl-C is for us alone: a training that got it and our signal would stop without saving
    )


def _relay(name: str, process: "subprocess.Popen[str]") -> None:
    for line in process.stdout or ():
        print(f"    {name}  {line.rstrip()}", flush=True)


def _first_failure(processes: Sequence["subprocess.Popen[str]"]) -> int:
    """The exit code of the first process that ends with one, 0 once all have ended well."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((code for code in codes if code), None)
        if failed is not None or None not in codes:
            return failed or 0
        time.sleep(0.2)
