"""`compile=true`: the network is compiled in place, for the training alone."""

from pathlib import Path

import pytest
import torch
from small_configurations import SMALL
from torch import nn

from imagen.app.train import train
from imagen.errors import UserError
from imagen.runs.folder import RunFolder


def test_a_compiled_training_has_the_checkpoint_of_another_and_does_not_go_on_as_it(compose_config, monkeypatch):
    """Compiling takes minutes, and stumbles over the type checks of the tests: here a call goes where it would, to what
    `Module.compile` puts in the place of the module's own call."""
    compiled = []

    def compile_nothing(module: nn.Module) -> None:
        compiled.append(module)
        module._compiled_call_impl = module._call_impl

    monkeypatch.setattr(nn.Module, "compile", compile_nothing)

    def run(*overrides: str) -> tuple[Path, dict]:
        common = [*SMALL, "callbacks=minimal", "logger=none", "trainer.limit_val_batches=0", "trainer.max_steps=2"]
        config = compose_config("train", *common, *overrides)
        train(config)
        folder = Path(config.run_dir)
        return folder, torch.load(RunFolder(folder).last_checkpoint, weights_only=True)["state_dict"]

    _, eager = run("name=eager")
    assert compiled == []
    folder, other = run("name=compiled", "compile=true")
    assert len(compiled) == 1
    assert list(other) == list(eager)
    for name, weight in eager.items():
        torch.testing.assert_close(other[name], weight, msg=name)
    with pytest.raises(UserError, match=r"compile=True and cannot resume with compile=False.*may_change=\[compile\]"):
        run("name=compiled", "trainer.max_steps=3")
    run("name=compiled", "trainer.max_steps=3", "may_change=[compile]")
    assert (folder / "export").is_dir()
