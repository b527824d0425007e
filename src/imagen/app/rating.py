"""Blind human rating: make a page for raters, read what they answered.

imagen rate make outputs/evaluation/one                     # the paper's two questions
imagen rate make outputs/evaluation/one outputs/evaluation/other   # DrawBench's comparison
imagen rate read answers-*.json --key outputs/evaluation/one/rating/key.json
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from imagen.commandline.command import prepare_environment, run_reporting_errors
from imagen.files import user_path
from imagen.places import ROOT


def make(arguments: argparse.Namespace) -> None:
    """Write rating.html, which goes to the raters, and key.json, which does not.

    Raises:
        UserError: for evaluations that are not there or do not fit together, and where the key of another page would
            be overwritten.
    """
    import random

    from imagen.errors import UserError
    from imagen.evaluation.rating.answers import read_key
    from imagen.evaluation.rating.items import PROTOCOLS, arrange, exhibits, with_checks
    from imagen.evaluation.rating.page import make_page
    from imagen.evaluation.results.archive import read_archive
    from imagen.files import write_json, write_text

    folders = [_folder(name) for name in arguments.evaluations]
    archives = [read_archive(folder) for folder in folders]
    cells = _cells(arguments.cell, [archive.cells for archive in archives], folders)
    names = [f"{folder.name} {cell}" for folder, cell in zip(folders, cells, strict=True)]
    if len(set(names)) < len(names):
        raise UserError(f"{names[0]} would be compared with itself; choose another --cell")
    shown = exhibits(archives, names, cells, arguments.count)
    draw = random.Random(arguments.seed)
    protocol = arguments.protocol or ("paper" if len(folders) == 1 else "drawbench")
    items = arrange(with_checks(PROTOCOLS[protocol](shown), shown, arguments.checks, draw), draw)
    page, key = make_page(shown, items)
    out = arguments.out or folders[0] / "rating"
    if (out / "key.json").is_file() and read_key(out / "key.json") != key:
        raise UserError(f"{out / 'key.json'} is the key of another page, which raters may have; choose another --out")
    write_json(key, out / "key.json")
    write_text(page, out / "rating.html")
    print(
        f"{out / 'rating.html'}: {len(items)} questions, {len(page) / 1e6:.1f} MB; send it to the raters\n"
        f"{out / 'key.json'}: says what they saw; keep it"
    )


def read(arguments: argparse.Namespace) -> None:
    """Print the scores, and write ratings.json and ratings.md where --out says.

    Raises:
        UserError: for answers that are not those of the key's page.
    """
    from dataclasses import asdict

    from imagen.checks.names import printable_lines
    from imagen.evaluation.rating.answers import read_key, read_raters
    from imagen.evaluation.rating.scores import score
    from imagen.evaluation.rating.tables import as_markdown, remarks
    from imagen.files import write_json, write_text

    key = read_key(arguments.key)
    raters = read_raters(arguments.answers, key)
    counted = [rater for rater in raters if rater.passes(key["items"])]
    scores = score(counted, key["items"], arguments.seed)
    notes = remarks(raters, key["items"])
    text = as_markdown(scores, notes)
    print(printable_lines(text))
    if arguments.out:
        _refuse_other_page(arguments.out / "ratings.json", key["page"])
        content = {"page": key["page"], "remarks": notes, "scores": [asdict(one) for one in scores]}
        write_json(content, arguments.out / "ratings.json")
        write_text(text, arguments.out / "ratings.md")


def _refuse_other_page(path: Path, page: str) -> None:
    """Raise UserError where the ratings of another page would be overwritten; more answers to the same page may be."""
    from imagen.checks.foreign import read_json
    from imagen.errors import UserError

    earlier = read_json(path, "choose another --out") if path.is_file() else {"page": page}
    if not isinstance(earlier, dict) or earlier.get("page") != page:
        raise UserError(f"{path} is of another page; choose another --out")


def _folder(name: str) -> Path:
    """A folder, or the name of an evaluation under outputs/evaluation."""
    from imagen.checks.names import checked_name

    folder = user_path(name)
    if folder.is_dir():
        return folder
    return ROOT / "outputs" / "evaluation" / checked_name(name, "no such folder, and as an evaluation")


def _cells(chosen: Sequence[str] | None, known: Sequence[Sequence[str]], folders: Sequence[Path]) -> list[str]:
    """One cell for each evaluation: those of --cell, or the only ones."""
    from imagen.errors import UserError

    if chosen and len(chosen) not in (1, len(known)):
        raise UserError(f"--cell is given {len(chosen)} times for {len(known)} evaluations; give it once for each")
    wanted = list(chosen or []) * (len(known) if len(chosen or []) == 1 else 1) or [None] * len(known)
    cells = []
    for cell, have, folder in zip(wanted, known, folders, strict=True):
        cell = have[0] if cell is None and len(have) == 1 else cell
        if cell not in have:
            cause = f"{len(have)} cells" if cell is None else f"no cell {cell}"
            raise UserError(f"{folder} has {cause}; choose with --cell: {', '.join(have)}")
        cells.append(cell)
    return cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagen rate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="make | read")
    making = commands.add_parser("make", help="write a page for raters and its key")
    making.add_argument("evaluations", nargs="+", help="one finished evaluation, or two to compare: folders or names")
    making.add_argument("--cell", action="append", help="whose pictures, e.g. dynamic-w3.0; once or for each")
    making.add_argument("--protocol", choices=["paper", "drawbench"], help="default: paper for one, drawbench for two")
    making.add_argument("--count", type=int, help="number of pictures, from the first; default: all that were kept")
    making.add_argument(
        "--checks", type=int, default=2, help="control questions with noise, for each kind of question (default 2)"
    )
    making.add_argument("--seed", type=int, default=0, help="seed of the order and the sides; do not tell the raters")
    making.add_argument("--out", type=user_path, help="folder; default: rating/ in the first evaluation")
    making.set_defaults(run=make)
    reading = commands.add_parser("read", help="what the answers say, with intervals")
    reading.add_argument("answers", nargs="+", type=user_path, help="files that raters saved")
    reading.add_argument("--key", type=user_path, required=True, help="key.json of their page")
    reading.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    reading.add_argument("--out", type=user_path, help="folder for ratings.json and ratings.md")
    reading.set_defaults(run=read)
    return parser


def main() -> None:
    prepare_environment()
    raise SystemExit(run_reporting_errors(_run))


def _run() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if len(getattr(arguments, "evaluations", ())) > 2:
        parser.error("give one evaluation or two")
    if getattr(arguments, "checks", 0) < 0:
        parser.error(f"--checks {arguments.checks}: 0 or more are needed")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
