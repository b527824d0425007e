"""Settings of each stage: one value for all, or one by role, in Python and in a configuration."""

import pytest
from omegaconf import OmegaConf

from imagen.cascade.embeddings import FromCaption
from imagen.cascade.settings import SamplingSettings
from imagen.commandline.roles import of_one_role
from imagen.diffusion.guidance import ClassifierFreeGuidance, IntervalGuidance, PerSignalGuidance
from imagen.diffusion.samplers import DDIMSampler, DDPMSampler, DPMSolverPP2M, HeunSampler
from imagen.diffusion.thresholding import DynamicThresholding, NoThresholding, StaticThresholding
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.sampling.configured import configured_settings
from imagen.sampling.settings import settings_by_role

ROLES = ["base", "sr1", "sr2"]


@pytest.fixture
def configured(compose_config):
    """configured("sampling.sr1.sampler=ddpm", ...): the settings of a cascade of three, as from the command line."""

    def settings(*overrides: str, entry: str = "sample", roles=ROLES, **options):
        config = compose_config(entry, *map(of_one_role, overrides))
        return configured_settings(config, roles, [3.0, 1.5, 1.5][: len(roles)], **options)

    return settings


def test_without_a_word_python_and_the_configuration_give_the_same_settings(configured):
    assert settings_by_role(ROLES) == configured() == configured(entry="evaluate")


def test_roles_differ_in_every_setting_from_the_command_line(configured):
    base, sr1, sr2 = configured(
        "sampling.base.sampler=ddim", "sampling.sr1.thresholding=static", "sampling.sr2.aug_level=0.2",
        "sampling.base.guidance_rule=interval", "sampling.sr1.guidance_weight=4", "sampling.base.sampler.num_steps=5",
    )  # fmt: skip
    assert base.sampler == DDIMSampler(5)
    assert isinstance(base.guidance, IntervalGuidance)
    assert (base.guidance.weight, base.thresholding) == (3.0, DynamicThresholding())
    assert (sr1.sampler, sr1.thresholding) == (DPMSolverPP2M(16), StaticThresholding())
    assert (sr1.guidance, sr1.aug_level) == (ClassifierFreeGuidance(4.0), 0.1)
    assert (sr2.thresholding, sr2.aug_level, sr2.guidance.weight) == (DynamicThresholding(), 0.2, 1.5)


def test_a_rule_with_a_weight_for_each_signal_has_no_other(configured):
    weights = "sampling.base.guidance_rule.weights={text: 4, condition: 2}"
    base, sr1, _ = configured(
        "sampling.base.guidance_rule=per_signal", weights, "sampling.base.guidance_rule.rescale=0.5"
    )
    assert base.guidance == PerSignalGuidance({"condition": 2, "text": 4}, ["condition", "text"], 0.5)
    assert base.describe()["guidance_weight"] is None
    assert base.describe()["guidance_rule"]["weights"] == {"condition": 2, "text": 4}
    assert sr1.guidance == ClassifierFreeGuidance(1.5)
    assert settings_by_role(["base"], guidance=base.guidance)[0].guidance == base.guidance


def test_a_sweep_of_the_guidance_weight_needs_a_rule_that_has_one(configured):
    with pytest.raises(UserError, match=r"^guidance_rule has weights of its own, .* leave out guidance\.weights or"):
        configured("guidance_rule=per_signal", entry="evaluate")


def test_short_keys_are_the_defaults_of_all_roles_and_a_role_overrides_them(configured):
    overrides = ["sampler=ddim", "sampler.num_steps=7", "sr_sampler=ddpm", "thresholding=static"]
    more = ["cascade.aug_level=0.3", "sampling.sr2.sampler.num_steps=9", "sampling.sr2.thresholding=none"]
    base, sr1, sr2 = configured(*overrides, *more)
    assert [stage.sampler for stage in (base, sr1, sr2)] == [DDIMSampler(7), DDPMSampler(256), DDPMSampler(9)]
    assert [stage.thresholding for stage in (base, sr1, sr2)] == [*[StaticThresholding()] * 2, NoThresholding()]
    assert (sr1.aug_level, sr2.aug_level) == (0.3, 0.3)


def test_groups_of_hydra_choose_for_a_role_too(configured):
    _, sr1, sr2 = configured("sampler@sampling.sr1.sampler=heun", "thresholding@sampling.sr2.thresholding=static")
    assert isinstance(sr1.sampler, HeunSampler)
    assert sr2.thresholding == StaticThresholding()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["sampling.sr1.sampler.num_stepz=3"], "sampling.sr1.sampler.num_stepz: no such key; choose one of num_steps"),
        (["sampling.sr1.smapler=3"], "sampling.sr1.smapler: no such key; choose one of sampler, thresholding, "),
        (["sampling.sr1.samplr=null"], "sampling.sr1.samplr: no such key; choose one of sampler, thresholding, "),
        (["sampling.sr7.sampler=null"], "sampling.sr7.sampler: no stage 'sr7' here; choose one of base, sr1, sr2"),
        (["sampling.base.aug_level=null"], "sampling.base.aug_level: no such key; choose one of sampler, "),
        (
            ["thresholding=static", "sampling.base.thresholding.percentile=0.9"],
            "sampling.base.thresholding.percentile: no such key; StaticThresholding has no settings",
        ),
        (["sampling.sr9.aug_level=0.2"], "sampling.sr9.aug_level: no stage 'sr9' here; choose one of base, sr1, sr2"),
        (["sampling.sr1=3"], "sampling.sr1=3: give one setting, such as sampling.sr1.aug_level=0.2"),
        (["sampling.base.aug_level=0.2"], "sampling.base.aug_level: no such key; choose one of "),
        (["sampling.sr1.aug_level=much"], "sampling.sr1.aug_level='much' must be a finite number"),
        (["sampling.sr1.aug_level=nan"], "sampling.sr1.aug_level=nan must be a finite number"),
        (
            ["guidance_rule=interval", "guidance_rule.log_snr_max=inf"],
            "guidance_rule.log_snr_max=inf must be a finite number",
        ),
        (["sampling.sr1.aug_level=2"], "aug_level=2.0 must be in [0, 1]"),
        (["sampling.sr1.guidance_weight=true"], "sampling.sr1.guidance_weight=True must be a finite number"),
        (["sampling.sr1.guidance_weight=-1"], "guidance weight is -1"),
        (["sampling.sr1.sampler.num_steps=1.5"], "sampling.sr1.sampler.num_steps=1.5 must be a whole number"),
        (["sr_sampler.num_steps=1.5"], "sr_sampler.num_steps=1.5 must be a whole number"),
        (
            ["+guidance_rule.weight=9"],
            "guidance_rule.weight=9: the weight is set for each stage; give guidance_weights or sampling.",
        ),
        (
            ["sampling.sr1.guidance_rule=interval", "sampling.sr1.guidance_rule.weight=9"],
            "sampling.sr1.guidance_rule.weight=9: the weight is set for each stage; give guidance_weights or sa",
        ),
        (
            ["sampling.base.guidance_rule=per_signal", "sampling.base.guidance_weight=2"],
            "sampling.base.guidance_rule has weights of its own, so that there is no guidance weight to vary: leave "
            "out sampling.base.guidance_weight or the rule",
        ),
        (["++sampling.sr1.sampler=ddpm"], "sampling.sr1.sampler='ddpm' is not an object; in a file, choose one in its"),
    ],
)
def test_what_a_stage_cannot_be_told_is_refused_in_one_line(configured, overrides, line):
    with pytest.raises(UserError) as caught:
        configured(*overrides)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_settings_of_a_stage_that_is_left_out_are_kept_for_later_and_others_are_refused(configured):
    (base,) = configured("sampling.sr1.sampler=ddpm", roles=["base"], stopped=True)
    assert base.sampler == DPMSolverPP2M(16)
    with pytest.raises(UserError, match=r"^sampling\.sr1\.sampler: no stage 'sr1' here; choose one of base$"):
        configured("sampling.sr1.sampler=ddpm", roles=["base"])
    with pytest.raises(UserError, match="no stage 'sr9' here"):
        configured("sampling.sr9.aug_level=0.1", roles=["base"], stopped=True)


def test_in_python_a_value_is_of_all_stages_and_a_mapping_is_by_role():
    base, sr1, sr2 = settings_by_role(
        ROLES, sampler={"sr1": DDPMSampler(64)}, steps={"base": 20}, thresholding=StaticThresholding(),
        guidance={"sr2": IntervalGuidance(2.0, -1.0, 1.0)}, guidance_weight=[5, 2], aug_level={"sr2": 0},
    )  # fmt: skip
    assert [stage.sampler for stage in (base, sr1, sr2)] == [DPMSolverPP2M(20), DDPMSampler(64), DPMSolverPP2M(16)]
    assert {stage.thresholding for stage in (base, sr1, sr2)} == {StaticThresholding()}
    assert [stage.guidance.weight for stage in (base, sr1, sr2)] == [5.0, 2.0, 2.0]
    assert isinstance(sr2.guidance, IntervalGuidance)
    assert (sr1.aug_level, sr2.aug_level) == (0.1, 0.0)
    assert [stage.guidance.weight for stage in settings_by_role(ROLES, guidance_weight=4)] == [4.0, 4.0, 4.0]
    by_role = settings_by_role(ROLES, guidance_weight={"sr1": 4})
    assert [stage.guidance.weight for stage in by_role] == [3.0, 4.0, 1.5]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"sampler": {"sr9": DDIMSampler(3)}},
            "sampler={'sr9': ...}: no such stage here; choose one of base, sr1, sr2",
        ),
        ({"sampler": "ddim"}, "sampler='ddim' is not a Sampler"),
        ({"sampler": DDIMSampler}, "sampler=<class"),
        ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
        ({"steps": "many"}, "steps='many' must be"),
        ({"guidance_weight": "3"}, "guidance_weight='3' must be a finite number"),
        ({"guidance_weight": []}, "guidance_weight=[]: 0 weights for 3 stages"),
        ({"guidance_weight": [1, 2, 3, 4]}, "guidance_weight=[1, 2, 3, 4]: 4 weights for 3 stages"),
        ({"guidance_weight": -1}, "guidance weight is -1"),
        ({"guidance_weight": 2, "guidance": lambda *arguments: None}, "guidance_weight=2: function has no weight"),
        ({"thresholding": "static"}, "thresholding='static' is not an object that can be called"),
        ({"aug_level": {"base": 0.2}}, "aug_level={'base': ...}: base enlarges nothing and has no aug_level; leave it"),
        ({"aug_level": 2}, "aug_level=2.0 must be in [0, 1]"),
        ({"aug_level": True}, "aug_level=True must be a finite number"),
    ],
)
def test_in_python_too_what_cannot_be_is_refused_in_one_line(arguments, line):
    with pytest.raises(UserError) as caught:
        settings_by_role(ROLES, **arguments)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("choice", ["ddim", "ddpm", "dpmpp_2m", "heun"])
@pytest.mark.parametrize("rule", ["classifier_free", "interval", "projected", "zero_star", "plus_plus", "rising"])
@pytest.mark.parametrize("thresholding", ["none", "static", "dynamic"])
def test_settings_are_described_as_the_configuration_that_makes_them(compose_config, choice, rule, thresholding):
    """So a fingerprint of before, which was made of the configuration, is one of today."""
    overrides = [f"sampler={choice}", f"guidance_rule={rule}", f"thresholding={thresholding}"]
    config = compose_config("sample", *overrides)
    (settings,) = configured_settings(config, ["base"], [3.0])
    plain = OmegaConf.to_container(config, resolve=True)
    expected = {key: plain[key] for key in ("sampler", "thresholding", "guidance_rule")}
    for key, added_later in (("sampler", "learned_variance"), ("thresholding", "cap")):
        assert not expected[key].pop(added_later, None), "off, it is left out"
    assert settings.describe() == {"guidance_weight": 3.0, "aug_level": 0.0} | expected
    assert instantiate(settings.describe()["sampler"]) == settings.sampler


def test_a_setting_that_is_added_is_in_every_description():
    guidance = ClassifierFreeGuidance(2)
    settings = SamplingSettings(
        DDIMSampler(3), guidance, StaticThresholding(), 0.5, (8, 12), 0.25, 0.6, 2, FromCaption()
    )
    names = {"guidance_weight" if name == "guidance" else name for name in SamplingSettings.__dataclass_fields__}
    assert settings.describe().keys() == names | {"guidance_rule"}
