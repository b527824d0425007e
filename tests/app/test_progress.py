"""What a training shows of its progress."""

import sys
from types import SimpleNamespace

from lightning.pytorch.callbacks import RichProgressBar

from imagen.callbacks.progress import ProgressBar, ProgressLines, make_progress


def test_a_terminal_gets_a_bar_without_epochs_and_a_file_gets_lines(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert isinstance(make_progress(), ProgressLines)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    bar = make_progress()
    assert isinstance(bar, ProgressBar)
    assert bar._get_train_description(0).split() == ["Training"]
    assert "_get_train_description" in vars(RichProgressBar)  # which Lightning calls


def test_the_last_line_is_that_of_the_last_step(capsys):
    lines = ProgressLines()
    trainer = SimpleNamespace(
        global_step=0, max_steps=2, is_global_zero=True, progress_bar_metrics={"train/loss": 0.5}, validated=False
    )
    lines.on_train_start(trainer, None)
    for trainer.global_step in (1, 2):
        lines.on_train_batch_end(trainer, None, None, None, 0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("step 2/2  train/loss 0.5000  ")
    assert line.endswith("0.0 min left")
