"""Alignment against fidelity, one point per guidance weight: `python evaluate.py guidance=sweep`."""

from omegaconf import DictConfig

from imagen.app.command import command


@command("evaluate")
def main(config: DictConfig) -> None:
    from imagen.app.evaluate import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
