"""The command `imagen`: every command of the project under one name, such as `imagen train stage=base`.

Imports nothing slow, and of the commands only the one that is called.
"""

import importlib
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from imagen.commandline.command import run_reporting_errors
from imagen.errors import UserError
from imagen.places import ROOT


@dataclass(frozen=True)
class Command:
    """`purpose`: its line in `imagen --help`. `place`: a script beside conf/, or the module whose `main` is called."""

    purpose: str
    place: str


COMMANDS = {
    "train": Command("train one stage of the cascade", "train.py"),
    "sample": Command("turn text into pictures", "sample.py"),
    "evaluate": Command("measure alignment against fidelity", "evaluate.py"),
    "plan": Command("memory, arithmetic and time of a training, before it is started", "imagen.planning.command"),
    "cache": Command("encode captions ahead of training", "imagen.app.cache"),
    "shards": Command("write pictures and embedded captions into tar archives", "imagen.packing.command"),
    "export": Command("export a run that is not finished", "imagen.app.export"),
    "fetch": Command("download published weights", "imagen.app.fetch"),
    "convert": Command("convert a text encoder's pickled weights to safetensors", "imagen.app.convert"),
    "ablation": Command("repeat one of the paper's ablations in miniature", "imagen.app.ablation"),
    "web": Command("use a cascade on a page in the browser", "imagen.app.web"),
    "rate": Command("make a page for human raters, read their answers", "imagen.app.rating"),
    "demo": Command("train, sample and evaluate a small cascade in 15 minutes", "imagen.app.demo"),
    "train-judge": Command("train judges of your own captioned pictures", "imagen.app.train_judge"),
}

USAGE = """usage: imagen COMMAND [ARGUMENT ...]

Text-to-image diffusion cascades. Commands:

{commands}

`imagen COMMAND --help` describes a command and its arguments.
`python train.py`, `python sample.py` and `python evaluate.py` are the first three.
"""


def main() -> None:
    """Run the command that the first argument names and exit with its code; with 2 where there is no such command."""
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else None), sys.argv[2:]
    if name in ("--help", "-h", "help"):
        sys.exit(_print(usage()))
    if name == "--version":
        sys.exit(_print(_version()))
    if name is None:
        print(usage(), end="", file=sys.stderr)
        sys.exit(2)
    if name not in COMMANDS:
        print(f"error: {_unknown(name)}", file=sys.stderr)
        sys.exit(2)
    _run(name, arguments)


def usage() -> str:
    """What `imagen --help` prints."""
    width = max(map(len, COMMANDS))
    return USAGE.format(commands="\n".join(f"  {name:{width}}  {it.purpose}" for name, it in COMMANDS.items()))


def _run(name: str, arguments: Sequence[str]) -> None:
    if code := run_reporting_errors(_require_checkout):
        sys.exit(code)
    place = COMMANDS[name].place
    if place.endswith(".py"):
        # As `python train.py` would: Lightning starts its other processes by the name of the script.
        sys.argv = [str(ROOT / place), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        sys.argv = [f"imagen {name}", *arguments]
        sys.exit(importlib.import_module(place).main())


def _require_checkout() -> None:
    if not (ROOT / "conf").is_dir():
        raise UserError(
            f"imagen is installed without its checkout: there is no {ROOT / 'conf'}; clone the repository and install "
            "it from there with pip install -e .",
            environment=True,
        )


def _unknown(name: str) -> str:
    import difflib

    from imagen.checks.names import printable

    near = difflib.get_close_matches(name, COMMANDS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "imagen --help lists the commands"
    return printable(f"no command {name!r:.60}; {hint}")


def _version() -> str:
    from importlib.metadata import version

    return f"imagen {version('imagen-lightning')}\n"


def _print(text: str) -> int:
    """Print `text`; the exit code: 141 if nobody reads it."""
    return run_reporting_errors(lambda: print(text, end=""))
