"""Commands that run side by side: their output is distinguishable, and they end together."""

import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial

from imagen.commandline.together import run_together
from imagen.places import ROOT

WAIT = """
import pathlib, signal, sys, time
def stop(number, frame):
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("begun", flush=True)
pathlib.Path(sys.argv[1]).touch()
time.sleep(100)
"""
"""A command that says when it is asked to stop. It makes the file of its name once it is ready for that."""


def python(code: str, *arguments: object) -> str:
    return shlex.join(["-c", code, *map(str, arguments)])


def test_every_line_comes_after_the_name_of_its_command(capfd):
    assert (
        run_together({"base": python("print('one'); print('two')"), "sr1": python("import sys; sys.exit(None)")}) == 0
    )
    assert capfd.readouterr().out == "    base  one\n    base  two\n"


def test_each_has_its_share_of_the_threads(capfd, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 6)
    show = python("import os; print(os.environ['OMP_NUM_THREADS'])")
    assert run_together({"a": show, "b": show}) == 0
    assert sorted(capfd.readouterr().out.split()) == ["3", "3", "a", "b"]


def test_one_that_fails_stops_the_others_which_may_save(capfd, tmp_path):
    fail = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nsys.exit(3)"
    started = time.monotonic()
    assert run_together({"base": python(WAIT, tmp_path / "ready"), "sr1": python(fail, tmp_path / "ready")}) == 3
    assert time.monotonic() - started < 50
    assert "base  saved" in capfd.readouterr().out


def test_ctrl_c_reaches_each_command_once(tmp_path):
    parent = (
        "from imagen.commandline.together import run_together; "
        f"run_together({{'base': {python(WAIT, tmp_path / 'ready')!r}}})"
    )
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where the tests themselves do not
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True, preexec_fn=hear,
    )  # fmt: skip
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    printed, _ = process.communicate(timeout=60)
    assert printed == "    base  begun\n    base  saved\n"
    assert process.returncode


def test_a_command_that_runs_alone_is_waited_for_when_it_is_to_stop(tmp_path):
    arguments = ["-c", WAIT, str(tmp_path / "ready")]
    parent = (
        "from imagen.commandline.command import run_reporting_errors as run; "
        "from imagen.commandline.together import run_alone; "
        f"raise SystemExit(run(lambda: run_alone({arguments!r})))"
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(
            [sys.executable, "-c", parent], cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True
        )
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
            time.sleep(0.01)
        (tmp_path / "ready").unlink()
        os.killpg(process.pid, number)
        printed, _ = process.communicate(timeout=60)
        assert (printed, process.returncode) == ("begun\nsaved\n", code)


def test_of_no_commands_none_fails():
    assert run_together({}) == 0
