"""A page in the browser on which a trained cascade is used.

imagen web                          # this machine alone: http://127.0.0.1:7860
imagen web exports/mine             # also the exported stages in a folder
imagen web --host 0.0.0.0 --port 80 # for others too; there is no password
"""

import argparse
from importlib.util import find_spec

from imagen.commandline.command import prepare_environment, run_reporting_errors
from imagen.errors import UserError
from imagen.files import root, user_path

PORT = 7860


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagen web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="*", type=user_path, help="exported stages, or folders that hold them as base, sr1, …"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0 takes one that is free")
    return parser


def main() -> None:
    prepare_environment()
    raise SystemExit(run_reporting_errors(_run))


def _run() -> None:
    arguments = _parser().parse_args()
    if find_spec("gradio") is None:
        raise UserError(
            "imagen web needs the package gradio, which is not installed: pip install -e '.[web]' -c constraints.txt",
            environment=True,
        )
    from imagen.web.server import serve

    serve(arguments.folders, root() / "outputs" / "web", arguments.host, arguments.port)


if __name__ == "__main__":
    main()
