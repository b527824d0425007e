"""Train one stage of the cascade: `python train.py stage=base` (also sr1, sr2)."""

from omegaconf import DictConfig

from imagen.app.command import command


@command("train")
def main(config: DictConfig) -> None:
    from imagen.app.train import train

    train(config)


if __name__ == "__main__":
    main()
