"""Alignment against fidelity, one point per guidance weight: `python evaluate.py guidance=sweep`."""

from omegaconf import DictConfig

from imagen.commandline.command import command


@command("evaluate", interrupted="what is finished is kept, and the same command goes on")
def main(config: DictConfig) -> None:
    from imagen.app.evaluate import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
