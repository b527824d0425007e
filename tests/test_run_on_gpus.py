"""docs/how-to/run_on_gpus.md: what can be checked without a GPU, SLURM and Kubernetes."""

import re
import shlex
import subprocess

import pytest
import yaml

from imagen.commandline.arguments import with_own_keys
from imagen.places import ROOT
from imagen.planning.command import OWN

PAGE = (ROOT / "docs" / "how-to" / "run_on_gpus.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE))
JOB = yaml.safe_load(BLOCKS["train.yaml"])
CONTAINER = JOB["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]

LINES = re.findall(r"(train\.py|imagen plan|imagen cache) (.*)", PAGE.replace("\\\n", ""))
GROUPS = {"train.py": ("", ()), "imagen plan": ("++plan", OWN), "imagen cache": ("text", ("processes",))}
COMMANDS = [
    *((command, line.split("`")[0]) for command, line in LINES if "=" in line),
    ("train.py", " ".join(CONTAINER["args"][1:])),
]


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_every_command_line_composes(command, arguments, compose_config):
    compose_config("train", *with_own_keys(shlex.split(arguments), *GROUPS[command]))


def test_there_are_command_lines():
    assert len(COMMANDS) >= 8


def test_the_job_script_is_one_and_starts_a_task_for_each_gpu(tmp_path):
    script = tmp_path / "train.sbatch"
    script.write_text(BLOCKS["train.sbatch"], encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", BLOCKS["train.sbatch"], re.MULTILINE))
    assert (
        asked["ntasks-per-node"]
        == asked["gpus-per-node"]
        == re.search(r"trainer\.devices=(\d+)", script.read_text())[1]
    )


def test_the_job_of_kubernetes_asks_for_the_gpus_that_it_trains_on():
    told = dict(argument.split("=") for argument in CONTAINER["args"][1:])
    worker = JOB["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert int(told["trainer.devices"]) == CONTAINER["resources"]["limits"]["nvidia.com/gpu"]
    assert (told["trainer.devices"], int(told["trainer.num_nodes"])) == (
        JOB["spec"]["nprocPerNode"],
        worker["replicas"],
    )
