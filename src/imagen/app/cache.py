"""Encode captions ahead of training, into the cache that all stages share; whatever is there is not encoded again.

    imagen cache data=image_folder data.path=/my/pictures text=t5_base
    imagen cache experiment=pictures_base data.path=/my/pictures
    imagen cache data=hub data.path=/my/parquet text=t5_xxl processes=8

The overrides are those of train.py: what the training would encode on first use is encoded now, and its pictures are
checked. `python train.py --help` lists the groups of choices, `--cfg job` prints every value; nothing is trained.
Interrupted, it keeps what is encoded, and the same command goes on.

    processes=8   that encode, each with its own encoder and on its own GPU if there are so many; the files are the same
"""

import sys

from omegaconf import DictConfig

from imagen.commandline.command import command


def as_key_of_the_text(argument: str) -> str:
    """`processes=N` as the key of the configuration that it stands for; any other override as it is.

    >>> as_key_of_the_text("processes=8"), as_key_of_the_text("seed=1")
    ('text.processes=8', 'seed=1')
    """
    return f"text.{argument}" if argument.startswith("processes=") else argument


@command("train", interrupted="what is encoded is kept, and the same command goes on", help_text=__doc__)
def _cache(config: DictConfig) -> None:
    from imagen.data.module import make_data

    data = make_data(config.data)
    data.prepare_data()
    names = " and ".join(dict.fromkeys((data.train.name, data.validation.name)))
    print(f"captions of {names} are encoded: {config.text.folder}", file=sys.stderr)


def main() -> None:
    sys.argv[1:] = map(as_key_of_the_text, sys.argv[1:])
    _cache()


if __name__ == "__main__":
    main()
