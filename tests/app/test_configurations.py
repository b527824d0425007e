"""Every file under conf/ composes, and its objects can be built."""

from contextlib import nullcontext
from inspect import signature

import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from omegaconf import OmegaConf
from small_configurations import options

from imagen.checks.arguments import check_arguments
from imagen.commandline.config_errors import check_configuration
from imagen.errors import UserError
from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.sweep.reference import Reference
from imagen.instantiation import ALLOWED_TARGETS, STAGE_PART_PACKAGES, _checked_target, _targets, instantiate, resolved

GROUPS = {
    "train": (
        [
            "stage",
            "stage/network",
            "stage/diffusion",
            "stage/optimizer",
            "text",
            "data",
            "trainer",
            "callbacks",
            "logger",
            "debug",
        ]
    ),
    "sample": ["text", "sampler", "thresholding", "guidance_rule", "cascade", "embedding"],
    "evaluate": ["guidance", "metrics", "prompts", "sampler"],
    "train_judge": ["data"],
}
NEEDED = {
    "image_folder": ["data.path=/pictures"],
    "hub": ["data.path=someone/pictures"],
    "webdataset": ["data.path=/shards"],
    "litdata": ["data.path=/chunks"],
    "coco": ["prompts.path=captions_val2014.json"],
    "file": ["prompts.path=prompts.txt"],
    "geneval2": ["prompts.path=geneval2_data.jsonl"],
    "dpg": ["prompts.path=/dpg_bench"],
    "published": ["metrics.reference.source.path=/pictures"],
    "published_all": ["metrics.reference.source.path=/pictures"],
    "rules_and_weaker": ["guidance.weaker=/weaker"],
    "prior_tiny": ["stage=prior"],
    "unclip": ["guidance.imagen=[/base]", "guidance.unclip=[/prior,/decoder]"],
}
CHOICES = [
    (entry, group, option)
    for entry, groups in GROUPS.items()
    for group in groups
    for option in options(group)
    if (entry, option) != ("train", "stage")  # `text=stage`: the encoder of stages that are trained already
]


@pytest.mark.parametrize(("entry", "group", "option"), CHOICES, ids=lambda value: str(value))
def test_every_choice_composes_and_names_only_what_may_be_built(entry, group, option, compose_config):
    config = compose_config(entry, f"{group}={option}", *NEEDED.get(option, []))
    for where, node in _targets(resolved(config), entry):
        check_arguments(_checked_target(node["_target_"], where, ("imagen.",), ALLOWED_TARGETS), node, where)


TRAINING_PICTURES = {"image_folder": ["metrics.training.source.source.path=/pictures"], "openmoji": []}


@pytest.mark.parametrize("training", options("metrics/training"))
def test_training_pictures_are_a_choice_beside_every_metric(training, compose_config):
    for metrics in options("metrics"):
        needed = [*NEEDED.get(metrics, []), *TRAINING_PICTURES[training]]
        config = compose_config("evaluate", f"metrics={metrics}", f"metrics/training={training}", *needed)
        node = resolved(config)["metrics"]["training"]
        target = _checked_target(node["_target_"], "metrics.training", ("imagen.",), ALLOWED_TARGETS)
        assert issubclass(target, Reference)
        check_arguments(target, node, "metrics.training")


def test_a_vision_language_model_is_a_choice_beside_every_metric(compose_config):
    for metrics in options("metrics"):
        alone = compose_config("evaluate", f"metrics={metrics}", *NEEDED.get(metrics, []))
        assert "vlm" not in alone.metrics.judges
        assert "vlm" not in alone.metrics
        needed = [*NEEDED.get(metrics, []), "metrics.judges.vlm.path=/models/vlm"]
        config = compose_config("evaluate", f"metrics={metrics}", "metrics/vlm=folder", *needed)
        node = resolved(config)["metrics"]["judges"]["vlm"]
        target = _checked_target(node["_target_"], "metrics.judges.vlm", ("imagen.",), ALLOWED_TARGETS)
        assert issubclass(target, Answerer)
        check_arguments(target, node, "metrics.judges.vlm")
        defaults = {
            name: one.default for name, one in signature(target).parameters.items() if one.default is not one.empty
        }
        assert {name: node[name] for name in defaults} == defaults


@pytest.mark.parametrize("name", ["train", "sample"])
def test_the_encoder_of_the_stages_is_a_choice_for_sampling_alone(name, compose_config):
    config = compose_config(name, "text=stage", *(["prompt=a"] if name == "sample" else []))
    with nullcontext() if name == "sample" else pytest.raises(UserError, match=r"^text=stage is for sample\.py and"):
        check_configuration(config)


@pytest.mark.parametrize("network", options("stage/network"))
def test_every_network_is_built_from_a_stage_of_its_kind(network, compose_config):
    stage = next((stage for kind, stage in (("sr", "sr1"), ("prior", "prior")) if network.startswith(kind)), "base")
    config = compose_config("train", f"stage={stage}", f"stage/network={network}")
    with torch.device("meta"):
        denoiser = instantiate(config.stage.denoiser)
    assert sum(parameter.numel() for parameter in denoiser.parameters()) > 1e5


@pytest.mark.parametrize("diffusion", options("stage/diffusion"))
def test_the_diffusion_of_a_stage_is_a_choice_of_one_word(diffusion, compose_config):
    config = compose_config("train", f"stage/diffusion={diffusion}")
    targets = [node["_target_"] for _, node in _targets(resolved(config.stage.denoiser), "")]
    assert all(target.startswith(STAGE_PART_PACKAGES) for target in targets)
    instantiate(config.stage.schedule)
    instantiate(config.stage.denoiser.parameterisation)
    instantiate(config.stage.denoiser.weighting)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_says_what_it_is_and_composes(experiment, compose_config):
    from imagen.places import ROOT

    text = (ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    assert "# Command: python " in text
    entry = text.split("# Command: python ")[1].split(".py")[0]
    config = compose_config(
        entry, f"experiment={experiment}", *(["data.path=/pictures"] if "data.path=" in text else [])
    )
    assert f"experiment={experiment}" in text
    OmegaConf.to_container(config, resolve=True)


def test_the_trainer_for_slurm_leaves_saving_and_resuming_to_us(compose_config, monkeypatch):
    config = compose_config("train", "trainer=slurm", "trainer.accelerator=cpu", "trainer.devices=1")
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(UserError, match="not started by srun"):
        instantiate(config.trainer, logger=False)
    for name, value in (("NTASKS", 1), ("PROCID", 0), ("LOCALID", 0), ("NODEID", 0), ("JOB_NAME", "train")):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    environment = instantiate(config.trainer, logger=False)._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert environment.auto_requeue is False


def test_super_resolution_sizes_that_do_not_fit_are_refused(compose_config):
    with pytest.raises(UserError, match="from 16 to 40"):
        instantiate(compose_config("train", "stage=sr1", "resolutions=[16,40,256]").stage)
