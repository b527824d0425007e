"""Text to pictures through every trained stage: `python sample.py prompt="a red circle above a blue square"`."""

from omegaconf import DictConfig

from imagen.commandline.command import command


@command("sample", interrupted="not all pictures were written")
def main(config: DictConfig) -> None:
    from imagen.app.sample import sample

    sample(config)


if __name__ == "__main__":
    main()
