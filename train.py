"""Train one stage of the cascade: `python train.py stage=base` (also sr1, sr2)."""

from omegaconf import DictConfig

from imagen.commandline.command import command


@command("train", interrupted="the same command goes on from the last checkpoint, or begins where there is none")
def main(config: DictConfig) -> None:
    from imagen.app.train import train

    train(config)


if __name__ == "__main__":
    main()
