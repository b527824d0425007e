"""A plan as a table: drawn on a terminal, aligned columns elsewhere."""

import sys
from collections.abc import Callable, Sequence

from imagen.planning.plan import GIB, Plan
from imagen.planning.step import StepCost

Row = Sequence[str]


def heading(plan: Plan) -> str:
    """What is planned, in two lines."""
    sharing = plan.sharing
    gpus = f"{sharing.devices} GPUs, {sharing.name}" if sharing.devices > 1 else "one GPU"
    batches = "1 batch" if plan.accumulate == 1 else f"{plan.accumulate} batches"
    return (
        f"{plan.stage}: {plan.network}, {plan.parameters / 1e6:,.2f} M parameters, pictures of {plan.side} x "
        f"{plan.side}, {plan.optimizer}, {plan.precision}\n"
        f"{gpus}: {plan.batch_size} pictures per GPU and batch, {batches} a step, {plan.pictures:,} pictures "
        "a step"
    )


def rows(plan: Plan) -> list[Row]:
    """The head of the table and its rows."""
    sharing, hardware = plan.sharing, plan.hardware
    lines: list[tuple[str, Callable[[StepCost], str]]] = [
        ("weights", lambda cost: _gib(cost.weights)),
        ("gradients" + (", and DDP's buckets" if sharing.bucketed else ""), lambda cost: _gib(cost.gradients)),
        (f"{plan.optimizer}'s state", lambda cost: _gib(cost.optimizer)),
        ("averaged weights (EMA)", lambda cost: _gib(cost.average)),
        ("blocks gathered whole", lambda cost: _gib(cost.gathered)),
        ("activations kept for the backward pass", lambda cost: _gib(cost.kept)),
        ("most in both passes", lambda cost: _gib(cost.peak)),
        ("most in the optimizer's step", lambda cost: _gib(cost.step_peak)),
        ("most at once", lambda cost: _gib(cost.total)),
        (f"fits into {hardware.memory:g} GiB", lambda cost: "yes" if cost.total <= hardware.memory * GIB else "no"),
        ("pictures per GPU that fit, about", lambda cost: f"{plan.fitting(cost):,}"),
        ("TFLOP a step, one GPU", lambda cost: f"{plan.flops(cost) / 1e12:.4g}"),
        ("seconds a step", lambda cost: f"{plan.seconds(cost):.3g}"),
        (f"days for {plan.max_steps:,} steps", lambda cost: f"{plan.seconds(cost) * plan.max_steps / 86400:.3g}"),
    ]
    if not sharing.sharded:
        lines = [line for line in lines if line[0] != "blocks gathered whole"]
    words = {True: "blocks recomputed", False: "nothing recomputed"}
    titles = [words[variant.checkpointing] + (" *" if i == 0 else "") for i, variant in enumerate(plan.variants)]
    return [("GiB per GPU", *titles), *((name, *(of(v.cost) for v in plan.variants)) for name, of in lines)]


def notes(plan: Plan) -> str:
    """How the numbers are to be read."""
    hardware = plan.hardware
    return (
        f"* as configured (stage.denoiser.network.checkpointing). Time: at {hardware.share:.0%} of "
        f"{hardware.tflops:g} TFLOP/s,\na guess until it is measured; without data and communication. Workspaces of "
        "CUDA's libraries and gaps\nbetween blocks of memory come on top: leave a tenth free."
    )


def print_plan(plan: Plan) -> None:
    """Print the whole plan on standard output."""
    print(heading(plan) + "\n")
    if sys.stdout.isatty():
        _draw(rows(plan))
    else:
        print(aligned(rows(plan)))
    print("\n" + notes(plan))


def aligned(table: Sequence[Row]) -> str:
    """Columns of equal width, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    )


def _draw(table: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table()
    for i, title in enumerate(table[0]):
        drawn.add_column(title, justify="right" if i else "left")
    for row in table[1:]:
        drawn.add_row(*row)
    Console().print(drawn)


def _gib(size: int) -> str:
    return f"{size / GIB:,.3f}" if size < GIB else f"{size / GIB:,.2f}"
