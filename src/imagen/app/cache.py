"""Encode captions ahead of training: `python -m imagen.app.cache data=image_folder data.path=/my/pictures`.

The same configuration as train.py; whatever train.py would encode on first use is encoded now.
"""

import sys

from omegaconf import DictConfig

from imagen.app.command import command


@command("train")
def main(config: DictConfig) -> None:
    from imagen.instantiation import instantiate

    data = instantiate(config.data)
    data.prepare_data()
    print(
        f"captions of {data.train.name} and {data.validation.name} are encoded: {config.text.folder}", file=sys.stderr
    )


if __name__ == "__main__":
    main()
