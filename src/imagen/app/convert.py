"""Convert a text encoder's pickled weights to safetensors, once: `imagen convert t5-v1_1-base`.

Some models on the hub, T5 v1.1 among them, have pickled weights only, which are not read here. What is in them is not
run in converting them either.
"""

import argparse

from imagen.commandline.command import first_line, prepare_environment, run_reporting_errors
from imagen.files import user_path


def convert(model: str) -> None:
    """Convert the model in the folder `model`, or the one that `imagen fetch` fetched under that id.

    Raises:
        UserError: if it is not there, or there is nothing to convert.
    """
    from imagen.fetching.lock import models_folder
    from imagen.text.convert import convert_weights

    folder = user_path(model)
    made = convert_weights(folder if folder.is_dir() else models_folder() / model)
    print(f"{', '.join(map(str, made))}; pytorch_model.bin beside it is no longer needed")


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(prog="imagen convert", description=first_line(__doc__))
    parser.add_argument("model", help="what was fetched, e.g. t5-v1_1-base, or a folder with pytorch_model.bin")
    raise SystemExit(run_reporting_errors(lambda: convert(parser.parse_args().model)))


if __name__ == "__main__":
    main()
