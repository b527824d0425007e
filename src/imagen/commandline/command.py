"""What every entry point shares: Hydra's composition, errors in one line, exit codes.

Imports nothing heavy, so that `--help` answers at once.
"""

import logging
import os
import select
import sys
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper

from omegaconf import DictConfig, OmegaConf

from imagen.checks.names import as_name, printable, printable_lines
from imagen.commandline.arguments import as_hydra_reads_them, traceback_wanted, values_of
from imagen.commandline.interruption import Interrupted, interruptible
from imagen.files import user_path
from imagen.places import ROOT


def command(
    config_name: str, interrupted: str = "", help_text: str | None = None, reads_files: bool = True
) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Turn `run(config)` into a command-line program that composes conf/<config_name>.yaml.

    `interrupted`: as for `run_reporting_errors`. `help_text`: shown by --help instead of the text in the configuration.
    `reads_files`: a command that reads no data and no weights takes a configuration without `data.path`, and one whose
    text encoder is not on this machine.

    Exit codes: 0 done, 1 a defect of ours (with its traceback), 2 the user's mistake, 3 the environment's (disk full),
    130 interrupted, 141 nobody reads the output any more, 143 terminated.
    """

    def wrap(run: Callable[[DictConfig], None]) -> Callable[[], None]:
        def main() -> None:
            offline_by_default = "HF_HUB_OFFLINE" not in os.environ
            prepare_environment()
            sys.argv[1:] = as_hydra_reads_them(sys.argv[1:], config_name)
            started = partial(_run_hydra, config_name, run, offline_by_default, reads_files)
            if help_text and {"--help", "-h"} & set(sys.argv[1:]):
                started = partial(print, help_text.strip())
            sys.exit(run_reporting_errors(started, config_name, interrupted))

        return main

    return wrap


def first_line(doc: str | None) -> str:
    """Of a module's docstring, for its --help."""
    return (doc or "").partition("\n")[0]


def prepare_environment() -> None:
    """Offline and without telemetry unless the user says otherwise; tracebacks are ours to decide on, not Hydra's.

    What a terminal's encoding lacks (`×`, a caption, a path) is printed as `\\xd7`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:  # what prints warnings as long as nobody sets up logging
        logging.lastResort.setFormatter(_PrintableFormatter())
    os.environ.setdefault("IMAGEN_ROOT", str(ROOT))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # For folders in conf/, some of which Hydra makes before this package sees the configuration.
    OmegaConf.register_new_resolver("user_path", lambda value: str(user_path(value)), replace=True)
    OmegaConf.register_new_resolver("as_name", as_name, replace=True)


class _PrintableFormatter(logging.Formatter):
    """Warnings quote what stands in somebody's files."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def run_reporting_errors(run: Callable[[], object], config_name: str = "", interrupted: str = "") -> int:
    """Call `run` and return the exit code; a user's mistake is reported in one line on standard error.

    `interrupted`: what to report after SIGINT or SIGTERM: what is kept, and whether the same command continues from it.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from imagen.errors import UserError

    try:
        try:
            with interruptible():
                run()
        finally:
            sys.stdout.flush()  # not at the end of the interpreter, where a failure could not be reported
    except UserError as error:
        return _report(error, config_name, 3 if error.environment else 2)
    except (HydraException, OmegaConfBaseException) as error:
        return _report(error, config_name, 2)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return 141
        if error.errno is None or traceback_wanted():
            raise
        # A write to a full disk does not say to which file.
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {printable(where)}{error.strerror}; check paths.* and the disk", file=sys.stderr)
        return 3
    except Interrupted as signalled:
        kept = printable(signalled.kept) or interrupted
        print("interrupted" + (f"; {kept}" if kept else ""), file=sys.stderr)
        return 128 + signalled.number
    return 0


def _output_is_closed() -> bool:
    """Whether nobody reads a standard stream of ours any more (`| head`); what is still in its buffer goes nowhere."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream.fileno())]
    for stream in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(closed)


def _has_no_reader(handle: int) -> bool:
    watch = select.poll()
    watch.register(handle, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _report(error: Exception, config_name: str, code: int) -> int:
    from imagen.commandline.config_errors import explain

    if traceback_wanted():
        raise error
    print(f"error: {printable(explain(error, ROOT / 'conf', config_name))}", file=sys.stderr)
    return code


def is_multirun() -> bool:
    """Whether Hydra runs the command several times (`-m`, `--multirun`, `hydra.mode=MULTIRUN`)."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _run_hydra(
    config_name: str, run: Callable[[DictConfig], None], offline_by_default: bool, reads_files: bool
) -> None:
    import hydra
    from omegaconf.errors import OmegaConfBaseException

    from imagen.commandline.config_errors import check_configuration, refuse_endless_numbers
    from imagen.commandline.needed_weights import allows_downloads, check_weights
    from imagen.errors import UserError
    from imagen.plugins import using_plugins

    refuse_endless_numbers(sys.argv[1:])
    caught: list[Exception] = []

    def checked(config: DictConfig) -> None:
        if caught and isinstance(caught[0], OSError):  # of an earlier job of a sweep: a full disk, nobody reading
            return
        try:
            if not reads_files and OmegaConf.is_missing(config.data, "path"):
                config.data.path = "not read"
            check_configuration(config)
            if offline_by_default and allows_downloads(config):
                os.environ["HF_HUB_OFFLINE"] = "0"  # the hub's client reads it when it is imported, later
            if reads_files:
                check_weights(config)
            with using_plugins(_plugins_of_the_command_line(config)):
                run(config)
        except (UserError, OmegaConfBaseException, OSError) as error:  # past Hydra, which would announce it itself
            caught.append(error)

    try:
        hydra.main(config_path=str(ROOT / "conf"), config_name=config_name, version_base="1.3")(checked)()
    except ValueError as error:  # Hydra's own, raised while it composes
        if "Config group override must be" not in str(error):
            raise
        pairs = [each.partition("=") for each in sys.argv[1:]]
        given = [f"{key}={value}" for key, _, value in pairs if value == "null" and (ROOT / "conf" / key).is_dir()]
        raise UserError(f"{' '.join(given) or error}: choose a name, or leave it out") from None
    if caught:
        raise caught[0]


def _plugins_of_the_command_line(config: DictConfig) -> list[str]:
    """The packages that `config` lists, if it has them from there. Raises UserError where a file lists them."""
    from imagen.errors import UserError

    packages = list(config.plugins)
    if packages and not any(True for _ in values_of("plugins")):
        raise UserError(
            f"plugins=[{','.join(packages)}] stands in a file, and whose classes may be built is said on the command "
            "line alone: add it there"
        )
    return packages
