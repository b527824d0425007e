"""Encode captions ahead of training, into the cache that all stages share; whatever is there is not encoded again.

    imagen cache data=image_folder data.path=/my/pictures text=t5_base
    imagen cache experiment=pictures_base data.path=/my/pictures

The overrides are those of train.py: what the training would encode on first use is encoded now, and its pictures are
checked. `python train.py --help` lists the groups of choices, `--cfg job` prints every value; nothing is trained.
Interrupted, it keeps what is encoded, and the same command goes on.
"""

import sys

from omegaconf import DictConfig

from imagen.commandline.command import command


@command("train", interrupted="what is encoded is kept, and the same command goes on", help_text=__doc__)
def main(config: DictConfig) -> None:
    from imagen.data.module import make_data
    from imagen.errors import UserError

    if config.text.get("mode") == "shards":
        raise UserError("text.mode=shards: captions are embedded beside their pictures, by `imagen shards`, not cached")
    data = make_data(config.data)
    data.prepare_data()
    names = " and ".join(dict.fromkeys((data.train.name, data.validation.name)))
    print(f"captions of {names} are encoded: {config.text.folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
