"""Files and configurations that try to run code, and tests of the suite as rows."""

import os
from pathlib import Path

import pytest

from benchmarks.faults.forks import in_child
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.places import ROOT

PAYLOADS = [
    ("os.system", ["touch ran"]),
    ("os.mkdir", ["ran"]),
    ("os.popen", ["touch ran"]),
    ("subprocess.run", [["touch", "ran"]]),
    ("subprocess.Popen", [["touch", "ran"]]),
    ("builtins.eval", ["__import__('os').mkdir('ran')"]),
    ("builtins.exec", ["import os; os.mkdir('ran')"]),
    ("builtins.open", ["ran", "w"]),
    ("pathlib.Path.touch", [Path("ran")]),
    ("pathlib.Path.unlink", [Path("victim")]),
    ("shutil.rmtree", ["victims"]),
    ("torch.load", ["evil.ckpt"]),
    ("numpy.load", ["evil.npy"]),
    ("pickle.load", ["evil.pkl"]),
    ("hydra.utils.instantiate", [{"_target_": "os.mkdir", "path": "ran"}]),
    ("imagen.pictures.Path.touch", [Path("ran")]),
    ("imagen.instantiation.importlib.import_module", ["antigravity"]),
    ("imagen.files.write_atomically", [Path("ran"), b"x"]),
]


def malicious_configurations(folder: Path, trials: int) -> int:
    """Each is refused, and nothing is created or deleted."""
    (folder / "victim").write_text("still here")
    (folder / "victims").mkdir()
    os.chdir(folder)
    survived = 0
    for target, arguments in PAYLOADS[:trials]:
        try:
            instantiate({"part": {"_target_": target, "_args_": arguments}})
        except UserError:
            survived += sorted(path.name for path in folder.iterdir()) == ["victim", "victims"]
    os.chdir(ROOT)
    return survived


class Count:
    """A pytest plugin that counts passed tests."""

    def __init__(self) -> None:
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed


def tests(*arguments: str):
    """A row whose trials are tests of the suite; `trials` of them must pass."""

    def run(folder: Path, trials: int) -> int:
        result = folder / "passed"

        def call() -> None:
            os.chdir(ROOT)
            count = Count()
            # The shape checks work only on modules that are not imported yet.
            pytest.main([*arguments, "-q", "-o", "addopts=", "-p", "no:cacheprovider"], plugins=[count])
            result.write_text(str(count.passed))

        in_child(call)
        return int(result.read_text())

    return run
