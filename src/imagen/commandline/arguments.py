"""The arguments of a command line: written as Hydra's grammar wants them, and read as Hydra reads them."""

import re
import sys
from collections.abc import Collection, Iterator, Sequence

from imagen.checks.names import printable
from imagen.commandline.roles import COMMANDS, of_one_role
from imagen.files import user_path

HOME = re.compile(r"(?<=[=\[,])~(?=/|$|[\],])")

RENAMED = {"stage/unet": "stage/network"}
"""Configuration groups by their former names, which the command line still takes."""


def as_hydra_reads_them(arguments: Sequence[str], config_name: str) -> list[str]:
    """`arguments`, of a command that composes conf/<config_name>.yaml, with home folders, flags, former names and
    settings of one stage written as Hydra takes them.

    For every former name there is a line on standard error that gives the present one.
    """
    # Hydra's grammar reads `true` as a boolean, which cannot be the choice of a group.
    written = [
        "traceback=true" if argument.lower() == "debug=true" else _under_present_name(at_home(argument))
        for argument in arguments
    ]
    if config_name in COMMANDS:
        written = [of_one_role(argument) for argument in written]
    # Hydra's parser takes a flag behind an override for the end of the overrides.
    return sorted(written, key=lambda argument: argument not in ("-m", "--multi", "--multirun"))


def with_own_keys(arguments: Sequence[str], group: str, names: Collection[str]) -> list[str]:
    """`arguments`, of which those that set one of `names` set it in `group`: they are a command's own.

    >>> with_own_keys(["devices=8", "trainer.devices=8"], "++plan", ["devices"])
    ['++plan.devices=8', 'trainer.devices=8']
    """
    return [f"{group}.{argument}" if argument.partition("=")[0] in names else argument for argument in arguments]


def at_home(argument: str) -> str:
    """An override with `~` written out in its paths: no shell does that within a word, Hydra's grammar refuses it."""
    return argument if set("'\"") & set(argument) else HOME.sub(str(user_path("~")), argument)


def _under_present_name(argument: str) -> str:
    key, equals, value = argument.partition("=")
    name = re.sub(r"^(\+{1,2}|~)", "", key)
    sign = key.removesuffix(name)
    if name not in RENAMED:
        return argument
    print(printable(f"{name} is called {RENAMED[name]} now: read as {RENAMED[name]}{equals}{value}"), file=sys.stderr)
    return f"{sign}{RENAMED[name]}{equals}{value}"


def values_of(key: str) -> Iterator[object]:
    """What the command line says of `key`, in order, as Hydra reads it: `True` is true, and a list is a list."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for argument in sys.argv[1:]:
        if argument.partition("=")[0].lstrip("+") == key:
            try:
                yield OverridesParser.create().parse_override(argument).value()
            except (HydraException, ValueError):  # reported with all other mistakes
                continue


def traceback_wanted() -> bool:
    """Whether the last `traceback=` of the command line is true, as Hydra reads it: `True` is, `yes` is a text."""
    return [False, *values_of("traceback")][-1] is True


def override(key: str, text: str) -> str:
    """What gives `key` exactly this text on a command line, whatever Hydra's grammar would read in it.

    >>> print(override("paths.runs", "/my runs/a,b"))
    paths.runs='/my runs/a,b'
    """
    return f"{key}={quoted(text)}"


def quoted(text: str) -> str:
    """Exactly this text as a value in Hydra's grammar."""
    # A backslash is one by itself, and escapes before a quotation mark: the closing one too.
    escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + match[2].replace("'", r"\'"), text)
    return f"'{escaped}'"
