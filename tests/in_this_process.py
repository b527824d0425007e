"""train.py, sample.py and evaluate.py called without a process of their own, whose imports take long."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch


def call_here(entry: str, *arguments: str) -> CompletedProcess:
    """What `python <entry> <arguments>` prints, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", [entry, *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            import_module(Path(entry).stem).main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
    return CompletedProcess([entry, *arguments], code, out.getvalue(), err.getvalue())
