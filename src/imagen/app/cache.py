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

from imagen.commandline.arguments import with_own_keys
from imagen.commandline.command import command


@command("train", interrupted="what is encoded is kept, and the same command goes on", help_text=__doc__)
def _cache(config: DictConfig) -> None:
    from imagen.data.module import make_data
    from imagen.errors import UserError

    if config.text.get("mode") == "shards":
        raise UserError("text.mode=shards: captions are embedded beside their pictures, by `imagen shards`, not cached")
    data = make_data(config.data)
    data.prepare_data()
    names = " and ".join(dict.fromkeys((data.train.name, data.validation.name)))
    print(f"captions of {names} are encoded: {config.text.folder}", file=sys.stderr)


def main() -> None:
    sys.argv[1:] = with_own_keys(sys.argv[1:], "text", ["processes"])
    _cache()


if __name__ == "__main__":
    main()
