"""The commands as a user calls them: wrong calls give one line and the right exit code."""

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
from in_this_process import call_here
from omegaconf import OmegaConf

from imagen.commandline.arguments import traceback_wanted
from imagen.commandline.command import command, is_multirun, run_reporting_errors
from imagen.commandline.dispatcher import COMMANDS
from imagen.places import ROOT

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


def test_the_flag_of_a_multirun_may_stand_behind_an_override(tmp_path):
    fast = ["count=1", "cascade.stop_at=base", "sampler.num_steps=1", f"paths.outputs={tmp_path}"]
    done = call_here("sample.py", "prompt=a", *fast, "-m", "seed=1.5,2")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "error: seed=1.5 must be a whole number")


OF_THE_PACKAGE = {name: it.place for name, it in COMMANDS.items() if not it.place.endswith(".py")}


def test_every_module_that_is_a_command_is_one_of_imagen():
    modules = (ROOT / "src" / "imagen" / "app").glob("*.py")
    programs = {path.stem for path in modules if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    assert {f"imagen.app.{program}" for program in programs} <= set(OF_THE_PACKAGE.values())


@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_help_of_every_command_describes_that_command(name):
    place = OF_THE_PACKAGE[name]
    done = subprocess.run(
        [sys.executable, "-m", place, "--help"],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env=os.environ | OFFLINE, check=False,
    )  # fmt: skip
    said = " ".join(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"imagen {name} " in said
    purpose = importlib.import_module(place).__doc__.split(":")[0].split(",")[0]
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
        (["debug=null"], "debug=null: choose a name, or leave it out"),
    ],
)
def test_a_wrong_configuration_gets_one_line_and_exit_code_2(arguments, expected):
    done = call("train.py", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_refused_training_leaves_no_configuration_behind(tmp_path):
    done = call_here("train.py", "stage.text_dropout=7", f"paths.runs={tmp_path}", f"paths.cache={tmp_path / 'cache'}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]


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


@pytest.mark.parametrize("wanted", ["debug=true", "debug=True", "traceback=true", "traceback=TRUE", "++traceback=True"])
def test_a_traceback_is_shown_when_asked_for_in_any_way_that_hydra_reads_as_true(wanted, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["train.py", wanted, f"paths.runs={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        command("train")(lambda config: None)()
    assert ended.value.code == 0
    assert traceback_wanted()


@pytest.mark.parametrize(
    "given", [[], ["traceback=false"], ["traceback=true", "traceback=False"], ["name=traceback=true"]]
)
def test_a_traceback_is_not_shown_otherwise(given, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", *given])
    assert not traceback_wanted()


def test_a_traceback_of_the_users_mistake_ends_with_1():
    done = call("train.py", "traceback=True", "stage.optimizer.lrr=1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["-m"], ["--multi"], ["hydra.mode=MULTIRUN"]], ids=lambda arguments: arguments[0]
)
def test_a_sweep_is_one_however_it_was_asked_for(arguments, tmp_path):
    paths = [f"paths.{name}={tmp_path}" for name in ("runs", "cache")]
    done = call_here("train.py", *arguments, *paths, "stage.optimizer.lr=1e-4,3e-4")
    assert done.returncode == 2
    assert "vary name as well" in done.stderr


def test_an_option_of_another_program_makes_no_sweep(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "-m", "slow"])
    assert not is_multirun()


def test_settings_of_one_stage_are_chosen_by_name_and_changed_by_value():
    overrides = ["sampling.sr1.sampler=heun", "sampling.sr1.sampler.num_steps=7", "sampling.base.sampler.num_steps=3"]
    done = call_here("sample.py", "--cfg", "job", *overrides, "sampling.sr2.aug_level=0.2")
    assert (done.returncode, done.stderr) == (0, "")
    sampling = OmegaConf.create(done.stdout).sampling
    assert sampling.sr1.sampler._target_ == "imagen.diffusion.samplers.HeunSampler"
    assert (sampling.sr1.sampler.num_steps, sampling.sr2.aug_level) == (7, 0.2)
    assert sampling.base.sampler == {"num_steps": 3}


CLOSED = """
import os, sys
from imagen.commandline.command import prepare_environment, run_reporting_errors

def talk():
    for i in range(100_000):
        print(i)

prepare_environment()
sys.exit(run_reporting_errors(talk))
"""


def test_a_reader_that_has_read_enough_ends_the_command_quietly():
    with subprocess.Popen(
        [sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == ""


def test_help_for_a_reader_that_has_gone_is_quiet():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, str(ROOT / "sample.py"), "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_pipe_that_breaks_elsewhere_is_no_reader_that_has_gone(capfd):
    def write() -> None:
        read, handle = os.pipe()
        os.close(read)
        os.write(handle, b"x")

    assert run_reporting_errors(write) == 3
    assert "Broken pipe" in capfd.readouterr().err


ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_that_knows_no_such_sign_gets_its_number(stream):
    code = (
        "import sys; from imagen.commandline.command import *; prepare_environment(); "
        "print('8 \\xd7 8 \\xe9', file=sys.{})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.format(stream)], capture_output=True, check=True, env=os.environ | ASCII
    )
    assert getattr(done, stream) == b"8 \\xd7 8 \\xe9\n"


def test_the_commands_run_on_an_ascii_terminal(tmp_path):
    steps = ["count=1", "sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu"]
    place = [f"paths.runs={tmp_path}/runs", f"out={tmp_path}/out"]
    done = call("sample.py", "prompt=a red circle", *steps, *place, **ASCII)
    assert done.returncode == 0, done.stderr
    assert "(16 \\xd7 16, step" in done.stdout
    assert (tmp_path / "out" / "grid.png").is_file()


def test_help_imports_nothing_heavy():
    loaded = (
        "import sys; from imagen.commandline.command import command; command('train'); import hydra; "
        "print(*sys.modules)"
    )
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
