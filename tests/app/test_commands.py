"""The commands as a user calls them: wrong calls get one line and the right exit code."""

import errno
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from imagen.app.command import ROOT, run_reporting_errors

OFFLINE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def call(entry: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / entry), *arguments],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env=os.environ | OFFLINE | environment, check=False,
    )  # fmt: skip


def seconds_of_children() -> float:
    """What the processes that this one started and saw end took of the processor, whatever else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("entry", ["train.py", "sample.py", "evaluate.py"])
def test_help_shows_real_commands(entry):
    done = call(entry, "--help")
    assert done.returncode == 0
    assert done.stdout.count(f"python {entry} ") >= 3


def commands_of_the_package() -> list[str]:
    modules = (ROOT / "src" / "imagen" / "app").glob("*.py")
    return sorted(path.stem for path in modules if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", commands_of_the_package())
def test_help_of_every_command_describes_that_command(module):
    done = subprocess.run(
        [sys.executable, "-m", f"imagen.app.{module}", "--help"],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env=os.environ | OFFLINE, check=False,
    )  # fmt: skip
    said = " ".join(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m imagen.app.{module} " in said
    purpose = importlib.import_module(f"imagen.app.{module}").__doc__.split(":")[0].split(",")[0]
    assert " ".join(purpose.split()) in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line_that_says_what_is_kept(number, code, capsys):
    before = signal.getsignal(number)

    def work() -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    assert run_reporting_errors(work, interrupted="all is kept") == code
    assert capsys.readouterr().err == "interrupted; all is kept\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["stage.optimizer.lrr=1"], "lrr"),
        (["stage=bass"], "did you mean base"),
        (["data=image_folder"], "data.path"),
        (["stage.optimizer.lr=[1"], "lr"),
    ],
)
def test_a_wrong_configuration_gets_one_line_and_exit_code_2(arguments, expected):
    done = call("train.py", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("entry", "arguments", "expected"),
    [
        ("train.py", ["text=t5_xxl"], ["google/t5-v1_1-xxl", "fetch t5-v1_1-xxl", "about 44.5 GB"]),
        (
            "evaluate.py",
            ["metrics=published", "metrics.reference.source.path=/pictures"],
            ["inception/pt_inception-2015-12-05-6726825d.pth", "fetch inception", "95.6 MB"],
        ),
    ],
)
def test_absent_weights_are_named_at_once_with_path_command_and_size(entry, arguments, expected, tmp_path):
    before = seconds_of_children()
    done = call(entry, *arguments, f"paths.models={tmp_path}", f"paths.cache={tmp_path}", f"paths.runs={tmp_path}")
    assert seconds_of_children() - before < 5
    assert done.returncode == 3
    assert all(text in done.stderr for text in expected)
    assert done.stderr.count("\n") == 1


@pytest.fixture
def hub():
    """A model hub on this machine that has nothing; `paths` is what it was asked for."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.paths.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        server.paths = []
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("download", "environment", "asked"),
    [("true", {}, True), ("true", {"HF_HUB_OFFLINE": "1"}, False), ("false", {}, False)],
)
def test_the_hub_is_asked_only_where_the_configuration_and_the_environment_allow_it(
    hub, monkeypatch, tmp_path, download, environment, asked
):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "NO_PROXY": "127.0.0.1"}
    data = ["data=hub", "data.path=user/pictures", f"data.train.source.download={download}"]
    done = call("train.py", *data, f"paths.runs={tmp_path}", **endpoint, **environment)
    assert done.returncode in (2, 3)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert any("user/pictures" in path for path in hub.paths) == asked


def test_a_traceback_is_shown_only_when_asked_for():
    done = call("train.py", "debug=true", "stage.optimizer.lrr=1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_help_imports_nothing_heavy():
    loaded = "import sys; from imagen.app.command import command; command('train'); import hydra; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lightning", "transformers", "numpy"} & set(modules)
    assert Path(ROOT / "conf").is_dir()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_fills_up_is_one_line_and_exit_code_3(capsys):
    def fill() -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"a picture")

    assert run_reporting_errors(fill) == 3
    assert capsys.readouterr().err == f"error: {os.strerror(errno.ENOSPC)}; check paths.* and the disk\n"


def test_an_error_without_a_number_is_a_defect_and_keeps_its_traceback():
    def fail() -> None:
        raise OSError("not the system's")

    with pytest.raises(OSError, match="not the system's"):
        run_reporting_errors(fail)
