"""`imagen web` really started, on a port that is free and in a place of its own; the values of its form."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

CALL = "import sys; from imagen.commandline.dispatcher import main; sys.argv[0] = 'imagen'; main()"


@dataclass
class Server:
    """`root`: the folder with runs/ and outputs/. `home`: its home, its folder for temporary files and its own."""

    url: str
    root: Path
    home: Path
    said: list[str]

    @property
    def outputs(self) -> Path:
        return self.root / "outputs" / "web"


@contextmanager
def started(root: Path, home: Path, *arguments: str):
    """`imagen web` on a port that is free."""
    home.mkdir(exist_ok=True)
    place = {"IMAGEN_ROOT": str(root), "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", CALL, "web", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=home, env=os.environ | place,
    )  # fmt: skip
    said: list[str] = []
    assert process.stdout is not None
    first = process.stdout.readline()
    reader = Thread(target=said.extend, args=(process.stdout,))
    reader.start()
    try:
        assert first.startswith("http://127.0.0.1:"), first
        yield Server(first.split()[0], root, home, said)
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join()


FIELDS = {
    "cascade": "run small: 8 → 16",
    "task": "From text",
    "prompts": "a red circle\na green ring on a black background",
    "negative": "",
    "count": 1,
    "seed": 3,
    "weight": 3,
    "sr_weight": 1.5,
    "sampler": "dpmpp_2m",
    "steps": 2,
    "sr_sampler": "ddim",
    "sr_steps": 2,
    "thresholding": "dynamic",
    "painting": None,
    "picture": None,
    "strength": 0.6,
    "resample": 0,
}


def form(**changes):
    """The values of the form, in their order."""
    assert changes.keys() <= FIELDS.keys()
    return list((FIELDS | changes).values())
