"""`make demo`: from nothing to a Pareto plot on this machine, with the commands a user would type."""

import shlex
import subprocess
import sys
import time

from imagen.app.command import ROOT

PROMPTS = "[a red circle above a blue square on a white background,three green triangles on a black background]"

STEPS = (
    ("Train the base stage: text -> 16 x 16", "train.py experiment=demo_base"),
    ("Train the super-resolution stage: 16 -> 32", "train.py experiment=demo_sr1"),
    ("Sample", f"sample.py 'prompt={PROMPTS}' cascade.runs=[demo] out=outputs/demo/pictures"),
    ("Sweep the guidance weight", "evaluate.py experiment=demo"),
)

RESULTS = """
Done in {minutes:.1f} minutes. Look at
  pictures       outputs/demo/pictures/grid.png
  Pareto plot    outputs/demo/sweep/pareto.png     (numbers: sweep.csv, results.json, report.md beside it)
  curves         .venv/bin/tensorboard --logdir runs
Then try      python sample.py prompt="a purple ring to the left of an orange cross on a grey background"
"""


def main() -> int:
    """Run the steps one after another; stop at the first that fails."""
    started = time.monotonic()
    for number, (title, arguments) in enumerate(STEPS, start=1):
        print(f"\n[{number}/{len(STEPS)}] {title}\n    python {arguments}", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, *shlex.split(arguments)], cwd=ROOT, check=False).returncode
        if code:
            print(f"step {number} failed with exit code {code}; run it alone to see why", file=sys.stderr)
            return code
        print(f"    {(time.monotonic() - began) / 60:.1f} min", flush=True)
    print(RESULTS.format(minutes=(time.monotonic() - started) / 60))
    return 0


if __name__ == "__main__":
    sys.exit(main())
