"""Users' own packages, whose classes a configuration may name: `plugins=[my_lab.networks]` on the command line.

Whoever names a package here trusts it: a stage's configuration that came with somebody's weights may then build its
classes too. So the list comes from the command line, or from a program that uses this package as a library, and never
from a file.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagen.errors import UserError

_in_use: list[str] = []


@contextmanager
def using_plugins(packages: Sequence[str]) -> Iterator[None]:
    """While the body runs, `_target_` may name classes that are defined in one of `packages`, dotted module names.

    They are imported at once. The current folder is searched for them as well, after all that is installed.

    Raises:
        UserError: for what is no name of a module, a module of Python or of this package, or cannot be imported.
    """
    search_path, before = list(sys.path), list(_in_use)
    if packages:
        sys.path.append(str(Path.cwd()))
    try:
        for package in packages:
            _import(package)
        _in_use.extend(packages)
        yield
    finally:
        sys.path[:], _in_use[:] = search_path, before


def in_a_plugin(name: str) -> bool:
    """Whether `name` is that of a plugin in use, or of something within one."""
    return any(f"{name}.".startswith(f"{package}.") for package in _in_use)


def may_be_plugin(package: str) -> bool:
    """Whether a package of this name may be a plugin: none of Python's modules, which start programs, and not ours."""
    names = package.split(".")
    return all(name.isidentifier() for name in names) and names[0] not in {*sys.stdlib_module_names, "imagen"}


def _import(package: str) -> None:
    if not may_be_plugin(package):
        raise UserError(
            f"plugins=[{package}]: name a package of your own, such as my_lab.networks; Python's modules and those of "
            "imagen cannot be plugins"
        )
    try:
        importlib.import_module(package)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise UserError(
            f"plugins=[{package}] cannot be imported ({type(error).__name__}: {reason}); install it, add its folder to "
            "PYTHONPATH, or start in the folder that holds it"
        ) from error
