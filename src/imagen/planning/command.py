"""Plan a training: memory of each GPU, arithmetic and time of a step, without a GPU and without data.

    imagen plan experiment=paper_base trainer=ddp devices=8
    imagen plan experiment=paper_sr256 devices=32 data.batch_size=16 tflops=312 share=0.35 memory=40
    imagen plan stage=base stage/network=base_300m resolutions=[64,256,1024] text=t5_xxl stage/optimizer=muon

The overrides are those of train.py; neither pictures nor the weights of the text encoder must be there. Besides:

    devices=8     number of GPUs; without it trainer.devices x trainer.num_nodes, 1 where that is auto
    tflops=989    of one GPU at its peak, in 10^12 operations a second; 989 are those of an H100 in bfloat16
    share=0.4     of the peak that a training reaches: a guess until it is measured
    memory=80     of one GPU, in GiB
"""

import sys

from omegaconf import DictConfig

from imagen.commandline.arguments import with_own_keys
from imagen.commandline.command import command

OWN = ("devices", "tflops", "share", "memory")


@command("train", help_text=__doc__, reads_files=False)
def _plan(config: DictConfig) -> None:
    from imagen.checks.arguments import check_arguments
    from imagen.instantiation import as_dict
    from imagen.planning.plan import Hardware, make_plan
    from imagen.planning.table import print_plan

    given = as_dict(config.plan) if "plan" in config else {}
    check_arguments(Hardware, given, "plan")
    print_plan(make_plan(config, Hardware(**given)))


def main() -> None:
    sys.argv[1:] = with_own_keys(sys.argv[1:], "++plan", OWN)
    _plan()


if __name__ == "__main__":
    main()
