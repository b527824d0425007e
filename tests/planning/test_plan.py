"""A plan is held to a training that is really made, on small networks on this CPU."""

import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest
import torch
from omegaconf import DictConfig
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from imagen.commandline.arguments import with_own_keys
from imagen.errors import UserError
from imagen.instantiation import instantiate
from imagen.networks.multi_head import attention_as_on_a_gpu
from imagen.places import ROOT
from imagen.planning.command import OWN, main
from imagen.planning.plan import GIB, Hardware, Plan, make_plan
from imagen.planning.sharing import Sharing
from imagen.planning.step import AUTOCAST, checkpoint_blocks, planned_batch
from imagen.stages.diffusion_stage import DiffusionStage

sys.path.insert(0, str(ROOT / "benchmarks"))

from plans import row
from sizes import LARGE, RESOLUTIONS

SMALL = ["data.batch_size=4", "text.encoder.max_length=16"]
MIB = 2**20


def passes(stage: DiffusionStage, config: DictConfig) -> None:
    batch, dtype = planned_batch(config, stage, config.data.batch_size), AUTOCAST[config.trainer.precision]
    with attention_as_on_a_gpu():  # in what is recomputed as well
        with torch.autocast("cpu", dtype, enabled=dtype is not None, cache_enabled=False):
            loss = stage.training_step(batch, 0)
        loss.backward()
    stage.guard.forget()


def allocated(run: Callable[[], None]) -> int:
    """The most that the allocator of the CPU has handed out at once while `run` runs, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    now = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adafactor", "muon"])
def test_states_are_those_of_a_real_training_to_the_byte(optimizer, compose_config):
    config = compose_config("train", "stage/network=base_pico", f"stage/optimizer={optimizer}", *SMALL)
    cost = make_plan(config, Hardware()).variants[0].cost
    stage = instantiate(config.stage).train()
    made = stage.configure_optimizers()["optimizer"]
    passes(stage, config)
    made.step()
    parameters = list(stage.denoiser.parameters())
    state = [value for of_one in made.state.values() for value in of_one.values() if isinstance(value, torch.Tensor)]
    held = [[*parameters, *stage.bands.buffers()], [p.grad for p in parameters], state, stage.ema.parameters()]
    assert [sum(tensor.nbytes for tensor in of_kind) for of_kind in held] == [
        cost.weights, cost.gradients, cost.optimizer, cost.average,
    ]  # fmt: skip
    assert cost.states == cost.weights + cost.gradients + cost.optimizer + cost.average


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("network", ["stage/network=base_micro", "stage=sr1"])
def test_both_passes_take_the_memory_that_the_allocator_hands_out(network, precision, compose_config):
    """Within 5 %: the allocator rounds, and some kernels of the CPU allocate what no tensor shows."""
    config = compose_config("train", network, f"trainer.precision={precision}", *SMALL, "data.batch_size=16")
    variants = make_plan(config, Hardware()).variants
    assert [variant.checkpointing for variant in variants] == [False, True]
    for variant in variants:
        stage = instantiate(config.stage).train()
        checkpoint_blocks(stage.denoiser.network, variant.checkpointing)
        passes(stage, config)  # leaves gradients, as the first batch of several does
        measured = allocated(partial(passes, stage, config))
        print(f"{network} {precision}: planned {variant.cost.peak / MIB:.2f} MiB, measured {measured / MIB:.2f} MiB")
        assert variant.cost.peak == pytest.approx(measured, rel=0.05)
    assert variants[1].cost.peak < 0.7 * variants[0].cost.peak
    assert variants[0].cost.kept <= variants[0].cost.peak


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_arithmetic_is_what_torch_counts_in_a_real_step(optimizer, compose_config):
    config = compose_config("train", "stage/network=base_pico", f"stage/optimizer={optimizer}", *SMALL)
    plan = make_plan(config, Hardware(devices=2))
    for variant in plan.variants:
        stage = instantiate(config.stage).train()
        made = stage.configure_optimizers()["optimizer"]
        checkpoint_blocks(stage.denoiser.network, variant.checkpointing)
        with FlopCounterMode(display=False) as counter:
            passes(stage, config)
            made.step()
        assert plan.flops(variant.cost) == counter.get_total_flops()
    assert plan.flops(plan.variants[1].cost) > plan.flops(plan.variants[0].cost)


def plan_of(compose_config: Callable[..., DictConfig], *overrides: str, devices: int | None = None) -> Plan:
    config = compose_config("train", "stage/network=base_pico", *SMALL, *overrides)
    return make_plan(config, Hardware(devices=devices))


def test_ddp_holds_everything_whole_and_gradients_twice(compose_config):
    one, four = plan_of(compose_config), plan_of(compose_config, "trainer.strategy=ddp", devices=4)
    alone, shared = one.variants[0].cost, four.variants[0].cost
    assert (shared.weights, shared.optimizer, shared.average) == (alone.weights, alone.optimizer, alone.average)
    assert shared.gradients == 2 * alone.gradients
    assert (shared.peak, shared.flops) == (alone.peak, alone.flops)
    assert (one.pictures, four.pictures) == (4, 16)


SHARDED = "trainer.strategy={_target_: lightning.pytorch.strategies.ModelParallelStrategy}"


def test_sharded_weights_are_divided_and_a_block_is_whole(compose_config):
    alone = plan_of(compose_config).variants[0].cost
    two, many = (plan_of(compose_config, SHARDED, devices=devices).variants[0].cost for devices in (2, 64))
    for name in ("weights", "gradients", "optimizer", "average"):
        assert getattr(alone, name) / 2 <= getattr(two, name) < 0.52 * getattr(alone, name)  # rows that do not divide
        assert getattr(many, name) < getattr(two, name)
    assert two.gathered == many.gathered > 0
    assert two.peak == alone.peak


def test_the_share_of_the_first_process_has_the_row_that_is_left():
    odd, scalar = torch.zeros(5, 3), torch.zeros(())
    assert Sharing(2, sharded=True).held([odd, scalar]) == 3 * 3 * 4 + 4
    assert Sharing(2).held([odd, scalar]) == 5 * 3 * 4 + 4


@pytest.mark.parametrize(
    ("strategy", "devices", "expected"),
    [
        ("auto", 1, Sharing(1)),
        ("auto", 8, Sharing(8, bucketed=True)),
        ("ddp", 8, Sharing(8, bucketed=True)),
        ("fsdp", 8, Sharing(8, sharded=True)),
        ({"_target_": "lightning.pytorch.strategies.DDPStrategy", "gradient_as_bucket_view": True}, 8, Sharing(8)),
        ({"_target_": "lightning.pytorch.strategies.ModelParallelStrategy"}, 8, Sharing(8, sharded=True)),
    ],
)
def test_the_strategy_of_the_trainer_says_how_weights_are_shared(strategy, devices, expected):
    assert Sharing.of(strategy, devices) == expected


def test_time_is_arithmetic_by_the_share_of_the_peak(compose_config):
    plan = plan_of(compose_config, "trainer.accumulate_grad_batches=3")
    cost = plan.variants[0].cost
    assert plan.flops(cost) == 3 * cost.flops + cost.step_flops
    assert plan.seconds(cost) == pytest.approx(plan.flops(cost) / (989e12 * 0.4))
    assert plan.pictures == 12


def test_as_many_pictures_fit_as_there_is_memory_for(compose_config):
    config = compose_config("train", "stage/network=base_pico", *SMALL)
    cost = make_plan(config, Hardware()).variants[0].cost
    room = Hardware(memory=(cost.states + 2.5 * cost.peak) / GIB)
    assert make_plan(config, room).fitting(cost) == 10
    assert make_plan(config, Hardware(memory=cost.states / 2 / GIB)).fitting(cost) == 0


@pytest.mark.parametrize(
    "overrides",
    [
        ["stage=base_self_conditioned"],
        ["stage=base_with_picture"],
        ["stage=base_unclip"],
        ["stage=prior"],
        ["stage/diffusion=edm"],
        ["stage/diffusion=v_shifted", "data.crop_size=8"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_every_kind_of_stage_can_be_planned(overrides, compose_config):
    cost = make_plan(compose_config("train", *SMALL, *overrides), Hardware()).variants[0].cost
    assert min(cost.weights, cost.kept, cost.flops) > 0
    assert cost.kept <= cost.peak


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.precision=64-true"], "trainer.precision=64-true: a plan knows"),
        (["stage=base_distilled"], "plan its teacher's stage"),
        (["data.batch_size=0"], "batch_size=0"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0 must be"),
    ],
)
def test_what_cannot_be_planned_is_refused(overrides, expected, compose_config):
    with pytest.raises(UserError, match=expected):
        plan_of(compose_config, *overrides)


def test_the_numbers_of_the_hardware_are_checked():
    with pytest.raises(UserError, match=r"share=1\.5"):
        Hardware(share=1.5)


@pytest.mark.slow
def test_the_command_takes_the_overrides_of_train_and_its_own():
    """Pictures and text encoder of the experiment are not here."""
    own = ["experiment=paper_base", "trainer=ddp", "devices=8", "stage/network=base_300m", "data.batch_size=2"]
    done = planned_by_command(*own)
    assert done.returncode == 0, done.stderr
    assert "8 GPUs, DDP: 2 pictures per GPU and batch, 1 batch a step, 16 pictures a step" in done.stdout
    assert "blocks recomputed *  nothing recomputed" in done.stdout
    assert "fits into 80 GiB" in done.stdout


@pytest.mark.parametrize(
    ("argument", "expected"), [("devices=0", "plan.devices=0"), ("device=8", "no such key: device")]
)
def test_a_wrong_number_of_its_own_is_refused_in_one_line(argument, expected):
    done = planned_by_command(argument)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert expected in done.stderr


def planned_by_command(*arguments: str) -> CompletedProcess:
    called = patch.object(sys, "argv", ["imagen plan", *arguments])
    with (
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
        called,
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


def test_only_its_own_keys_are_written_anew():
    given = ["devices=8", "trainer.devices=2", "share=.5", "stage=sr1"]
    assert with_own_keys(given, "++plan", OWN) == [
        "++plan.devices=8", "trainer.devices=2", "++plan.share=.5", "stage=sr1",
    ]  # fmt: skip


PAGE = (ROOT / "docs" / "reference" / "plans.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "preset",
    [
        *(pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in RESOLUTIONS),
        "prior_tiny",
    ],
)
def test_the_page_has_the_needs_of_every_network(preset):
    assert row(preset) in PAGE
