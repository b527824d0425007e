"""What every entry point shares: Hydra's composition, errors in one line, exit codes.

Imports nothing heavy, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from imagen.app.interruption import Interrupted, interruptible
from imagen.names import as_name

ROOT = Path(__file__).resolve().parents[3]


def command(
    config_name: str, interrupted: str = "", help_text: str = ""
) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Turn `run(config)` into a command-line program that composes conf/<config_name>.yaml.

    `interrupted`: as for `run_reporting_errors`. `help_text`: what --help shows, in the place of the configuration's.

    Exit codes: 0 done, 1 a defect of ours (with its traceback), 2 the user's mistake, 3 the environment's (disk full),
    130 interrupted, 143 terminated.
    """

    def wrap(run: Callable[[DictConfig], None]) -> Callable[[], None]:
        def main() -> None:
            offline_by_default = "HF_HUB_OFFLINE" not in os.environ
            prepare_environment()
            # Hydra's grammar reads `true` as a boolean, which cannot be the choice of a group.
            sys.argv = ["traceback=true" if argument == "debug=true" else argument for argument in sys.argv]
            started = partial(_run_hydra, config_name, run, offline_by_default)
            if help_text and {"--help", "-h"} & set(sys.argv[1:]):
                started = partial(print, help_text)
            sys.exit(run_reporting_errors(started, config_name, interrupted))

        return main

    return wrap


def prepare_environment() -> None:
    """Offline and without telemetry unless the user says otherwise; tracebacks are ours to decide on, not Hydra's."""
    os.environ.setdefault("IMAGEN_ROOT", str(ROOT))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # In conf/: a name is checked where it becomes a path, before Hydra makes that folder.
    OmegaConf.register_new_resolver("as_name", as_name, replace=True)


def run_reporting_errors(run: Callable[[], object], config_name: str = "", interrupted: str = "") -> int:
    """Call `run`; return the exit code, with one line on standard error where it failed by the user's mistake.

    `interrupted`: what is to be said when SIGINT or SIGTERM ended it: what is kept, and whether it goes on from there.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from imagen.errors import UserError

    try:
        with interruptible():
            run()
    except UserError as error:
        return _report(error, config_name, 3 if error.environment else 2)
    except (HydraException, OmegaConfBaseException) as error:
        return _report(error, config_name, 2)
    except OSError as error:
        if error.errno is None or _traceback_wanted():
            raise
        # A write to a full disk does not say to which file.
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}; check paths.* and the disk", file=sys.stderr)
        return 3
    except Interrupted as signalled:
        print("interrupted" + (f"; {interrupted}" if interrupted else ""), file=sys.stderr)
        return 128 + signalled.number
    return 0


def _report(error: Exception, config_name: str, code: int) -> int:
    from imagen.app.config_errors import explain

    if _traceback_wanted():
        raise error
    print(f"error: {explain(error, ROOT / 'conf', config_name)}", file=sys.stderr)
    return code


def _traceback_wanted() -> bool:
    return "traceback=true" in sys.argv


def _run_hydra(config_name: str, run: Callable[[DictConfig], None], offline_by_default: bool) -> None:
    import hydra
    from omegaconf.errors import OmegaConfBaseException

    from imagen.app.config_errors import check_configuration
    from imagen.app.needed_weights import allows_downloads, check_weights
    from imagen.errors import UserError

    caught: list[Exception] = []

    def checked(config: DictConfig) -> None:
        try:
            check_configuration(config)
            if offline_by_default and allows_downloads(config):
                os.environ["HF_HUB_OFFLINE"] = "0"  # the hub's client reads it when it is imported, later
            check_weights(config)
            run(config)
        except (UserError, OmegaConfBaseException) as error:  # carried past Hydra, which would announce it itself
            caught.append(error)

    hydra.main(config_path=str(ROOT / "conf"), config_name=config_name, version_base="1.3")(checked)()
    if caught:
        raise caught[0]
