"""The numbers of a configuration that no constructor checks."""

import pytest
from handed_in import FAST
from png_settings import read_settings
from small_stages import export_readers_of_shapes_t5

from imagen.app.sample import sample
from imagen.commandline.config_errors import check_configuration, refuse_endless_numbers
from imagen.commandline.numbers import NUMBERS
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.sampling.curves import make_curves

REFUSED = [
    ("sample", "seed=1.5", "seed=1.5 must be a whole number"),
    ("sample", "seed=null", "seed=None must be a whole number"),
    ("sample", "seed=abc", "seed='abc' must be a whole number"),
    ("sample", "count=true", "count=True must be a whole number of at least 1 or null"),
    ("sample", "count=0", "count=0 must be a whole number of at least 1 or null"),
    ("sample", "cascade.seed=1.5", "cascade.seed=1.5 must be a whole number"),
    ("sample", "cascade.batch_size=true", "cascade.batch_size=True must be a whole number of at least 1"),
    ("sample", "cascade.aug_level=true", "cascade.aug_level=True must be a finite number"),
    (
        "sample",
        "guidance_weights=true",
        "guidance_weights=True must be a finite number or a list, each a finite number",
    ),
    (
        "sample",
        "guidance_weights=[1,a]",
        "guidance_weights=[1, 'a'] must be a finite number or a list, each a finite number",
    ),
    ("sample", "traceback=yes", "traceback='yes' must be true or false"),
    ("train", "seed=1.5", "seed=1.5 must be a whole number"),
    ("train", "resolutions=[16,64.0]", "resolutions=[16, 64.0] must be a list, each a whole number of at least 1"),
    ("train", "resolutions=[true,64]", "resolutions=[True, 64] must be a list, each a whole number of at least 1"),
    ("train", "text_features=256.0", "text_features=256.0 must be a whole number of at least 1"),
    ("evaluate", "seed=true", "seed=True must be a whole number"),
    ("evaluate", "block_size=true", "block_size=True must be a whole number of at least 1"),
    ("evaluate", "grid_prompts=-1", "grid_prompts=-1 must be a whole number of at least 0"),
    ("evaluate", "budget=1.5", "budget=1.5 must be a whole number of at least 1 or null"),
    ("evaluate", "first_pass=0", "first_pass=0 must be a whole number of at least 1"),
    ("evaluate", "processes=0", "processes=0 must be a whole number of at least 1"),
    ("evaluate", "processes=true", "processes=True must be a whole number of at least 1"),
    ("evaluate", "processes=null", "processes=None must be a whole number of at least 1"),
    ("evaluate", "strips.prompts=true", "strips.prompts=True must be a whole number of at least 0"),
    ("evaluate", "strips.moments=0", "strips.moments=0 must be a whole number of at least 1"),
    ("evaluate", "base_guidance=true", "base_guidance=True must be a finite number"),
    ("evaluate", "sr_guidance=x", "sr_guidance='x' must be a finite number"),
    ("evaluate", "across_worlds=1", "across_worlds=1 must be true or false"),
    ("train_judge", "steps=2", "steps=2 must be a whole number of at least 3"),
    ("train_judge", "vocabulary=1.5", "vocabulary=1.5 must be a whole number of at least 1"),
    ("train_judge", "max_pictures=0", "max_pictures=0 must be a whole number of at least 1"),
    ("train_judge", "image_size=64.0", "image_size=64.0 must be a whole number of at least 1"),
    ("train_judge", "precision=null", "precision=None must be text"),
]
BUILT = [
    ("train", "data", "data.batch_size=true"),
    ("train", "data", "data.num_workers=1.0"),
    ("train", "data", "data.train.size=1e6"),
    ("train", "data", "data.geometry.random_crop=1"),
    ("train", "data", "data.bad_pictures.max_share=true"),
    ("train", "trainer", "trainer.max_steps=true"),
    ("train", "trainer", "trainer.gradient_clip_val=abc"),
    ("train", "trainer", "trainer.num_sanity_val_steps=0.5"),
    ("train", "stage", "stage.max_skipped_steps=true"),
    ("train", "stage", "stage.ema_decay=abc"),
    ("train", "stage", "stage.lr_schedule.warmup_steps=1.5"),
    ("train", "stage", "stage.optimizer.lr=true"),
    ("train", "stage", "stage.optimizer.fused=1"),
    ("train", "stage", "stage.denoiser.network.embedding_features=64.0"),
    ("train", "callbacks.samples", "callbacks.samples.every_n_steps=true"),
    ("train", "callbacks.samples", "callbacks.samples.weights=3"),
    ("train", "callbacks.last", "callbacks.last.every_n_train_steps=1.5"),
    ("train", "text", "text.encoder.max_length=true"),
    ("evaluate", "prompts", "prompts.count=true"),
    ("evaluate", "metrics.judges.a", "metrics.judges.a.batch_size=0"),
    ("evaluate", "metrics.reference", "metrics.reference.count=1.5"),
    ("sample", "thresholding", "thresholding.percentile=true"),
    ("sample", "guidance_rule", "guidance_rule.batched=3"),
]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """An override that names a base and a super-resolution stage."""
    return f"cascade.stages=[{','.join(map(str, export_readers_of_shapes_t5(tmp_path_factory.mktemp('stages'))))}]"


@pytest.mark.parametrize(("entry", "override", "line"), REFUSED, ids=lambda value: str(value).partition(" ")[0])
def test_what_is_no_such_number_is_refused_before_the_work(entry, override, line, compose_config):
    with pytest.raises(UserError) as raised:
        check_configuration(compose_config(entry, override, *(["data.path=/a"] if entry == "train_judge" else [])))
    assert str(raised.value) == line


def test_every_number_that_stands_in_a_file_of_an_entry_point_has_its_rule(compose_config):
    for entry in ("train", "sample", "evaluate", "train_judge"):
        config = compose_config(entry)
        sections = {"": config} | {f"{name}.": config[name] for name in ("cascade", "strips") if name in config}
        for prefix, section in sections.items():
            for key in section:
                if isinstance(section[key], bool | int | float):
                    assert f"{prefix}{key}" in NUMBERS


@pytest.mark.parametrize(("entry", "part", "override"), BUILT, ids=lambda value: str(value))
def test_what_a_constructor_is_given_is_held_to_its_signature(entry, part, override, compose_config):
    node = compose_config(entry, override)
    for name in part.split("."):
        node = node[name]
    key = override.partition("=")[0]
    with pytest.raises(UserError) as raised:
        instantiate(node)
    assert str(raised.value).startswith(f"{key}=")
    assert " must be " in str(raised.value)


def test_a_curve_is_held_to_the_same_numbers(compose_config, stages):
    config = compose_config("evaluate", stages, "+guidance.curves.x.cascade.batch_size=true")
    with pytest.raises(UserError, match=r"^cascade\.batch_size=True must be"):
        make_curves(config)


def test_digits_in_thousands_are_refused_before_hydra_reads_them():
    refuse_endless_numbers(["seed=" + "9" * 3000, "prompt=a ring"])
    with pytest.raises(UserError, match=r"^seed=9{35}\.\.\.: a number of thousands of digits"):
        refuse_endless_numbers(["count=1", "seed=" + "9" * 5000])


@pytest.mark.parametrize(
    ("weights", "stop_at", "used"),
    [("[1,2,3]", None, None), ("[1,2,3]", "base", [1.0]), ("[1,2]", "base", [1.0]), ("3", None, [3.0, 3.0]),
     ("[1,2]", None, [1.0, 2.0])],
)  # fmt: skip
def test_a_guidance_weight_for_no_stage_is_refused_and_only_those_used_are_recorded(
    weights, stop_at, used, compose_config, stages, tmp_path
):
    more = [stages, f"guidance_weights={weights}", f"out={tmp_path}/out"]
    config = compose_config("sample", *FAST, *more, *([] if stop_at is None else [f"cascade.stop_at={stop_at}"]))
    if used is None:
        with pytest.raises(UserError, match="3 weights for 2 stages"):
            sample(config)
    else:
        sample(config)
        last = read_settings(tmp_path / "out" / ("sr1" if stop_at is None else stop_at) / "00000.png")
        assert [stage["guidance_weight"] for stage in last["stages"]] == used


@pytest.mark.parametrize(
    "override", ["cascade.device=5", "cascade.stages=[1]", "cascade.stages=[null]", "paths.runs=5", "prompts_file=[a]"]
)
def test_texts_are_texts(compose_config, override):
    with pytest.raises(UserError, match="must be"):
        check_configuration(compose_config("sample", "prompt=a", override))
