"""Train judges of your own captioned pictures: `imagen train-judge data=image_folder data.path=... name=my`."""

from omegaconf import DictConfig

from imagen.commandline.command import command


@command("train_judge", interrupted="a judge that is finished is kept, and the same command trains the others")
def main(config: DictConfig) -> None:
    from imagen.judging.own import train_judges

    train_judges(config)


if __name__ == "__main__":
    main()
