"""What a training shows of its progress."""

import sys

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
