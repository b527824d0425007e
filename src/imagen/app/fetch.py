"""Fetch published weights: `imagen fetch inception clip-vit-large-patch14`; `--list` shows all.

The only command that opens a connection. What may be fetched stands in models.lock, with the hash that must arrive.
"""

import argparse
import sys
from pathlib import Path

from imagen.checks.names import printable, printable_lines
from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.files import user_path


def fetch_all(arguments: argparse.Namespace) -> None:
    """Fetch the named models, in order.

    Raises:
        UserError: for an id that is not in the lock file, and whatever keeps a file from arriving whole.
    """
    from imagen.errors import UserError
    from imagen.fetching.download import Network
    from imagen.fetching.fetch import Origin, fetch
    from imagen.fetching.lock import LOCK, find_model, models_folder, read_lock

    models = arguments.to or models_folder()
    published = read_lock(arguments.lock or LOCK)
    if arguments.list:
        print(printable_lines(table(published, models)))
        return
    if not arguments.ids:
        raise UserError(f"which models? there are {', '.join(published)}; --list says more")
    if arguments.source is not None and not arguments.source.is_dir():
        raise UserError(f"--from {arguments.source}: no such folder")
    network = Network(arguments.mirror, arguments.proxy, arguments.timeout, arguments.tries, arguments.first_wait)
    for model in [find_model(name, published) for name in arguments.ids]:
        print(printable(f"{model.id}: {model.about}, {model.size}, licence {model.licences}"), file=sys.stderr)
        if model.gated and arguments.source is None:
            print(printable(f"{model.id} is gated: {model.way_in(models)}"), file=sys.stderr)
        folder = fetch(model, models, Origin(network, arguments.source), arguments.trust_on_first_use)
        print(printable(f"{model.id} -> {folder}; {model.use}"))


def table(published: dict, models: Path) -> str:
    """One line for each model: id, size, whether all hashes are known, licence, whether it is there."""
    rows = [("id", "size", "sha256", "licence", "here", "what it is")]
    for model in published.values():
        known = sum(file.sha256 is not None for file in model.files)
        here = "yes" if model.present(models / model.id) else "no"
        licence = f"{model.licences} (gated)" if model.gated else model.licences
        rows.append((model.id, model.size, f"{known} of {len(model.files)}", licence, here, model.about))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join([*lines, f"kept in {models}"])


def parser() -> argparse.ArgumentParser:
    """The command line; every default of the command stands here."""
    made = argparse.ArgumentParser(prog="imagen fetch", description=first_line(__doc__))
    made.add_argument("ids", nargs="*", help="models, e.g. inception")
    made.add_argument("--list", action="store_true", help="show what can be fetched")
    made.add_argument("--to", type=user_path, help="folder of the models; default: $IMAGEN_MODELS, else models/")
    made.add_argument("--from", dest="source", type=user_path, help="copy from a folder instead of the network")
    made.add_argument("--mirror", help="address that replaces scheme and host, e.g. https://mirror.example")
    made.add_argument("--proxy", help="default: the environment's http_proxy, https_proxy, no_proxy")
    made.add_argument("--trust-on-first-use", action="store_true", help="take files whose sha256 is not in the lock")
    made.add_argument("--lock", type=user_path, help="another lock file than models.lock")
    made.add_argument("--timeout", type=float, default=30.0, help="seconds without an answer")
    made.add_argument("--tries", type=int, default=6, help="attempts in a row without progress before giving up")
    made.add_argument(
        "--first-wait", type=float, default=1.0, help="seconds before the second attempt; doubled for each further one"
    )
    return made


def main() -> None:
    prepare_environment()
    goes_on = "what arrived is kept, and the same command goes on from there"
    raise SystemExit(run_reporting_errors(lambda: fetch_all(parser().parse_args()), interrupted=goes_on))


if __name__ == "__main__":
    main()
