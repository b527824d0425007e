"""A sweep in TensorBoard: the weight is the step, so a curve is a curve and the image slider moves the guidance."""

import shutil
from pathlib import Path

from imagen.evaluation.results import GROUND_TRUTH, Results


def write_tensorboard(results: Results, folder: Path) -> None:
    """Scalars and pictures of each thresholding at step round(100 · w), and one hparams run for each cell, whose
    scatter matrix is an interactive Pareto plot. An earlier log in `folder` is replaced."""
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    for label in results.thresholdings:
        with SummaryWriter(folder / label) as writer:
            for result in results.curve(label):
                step = round(100 * result.cell.guidance_weight)
                for name, value in result.metrics.items():
                    writer.add_scalar(_tag(name), value, step)
                for row, picture in enumerate(results.pictures[result.cell.name]):
                    writer.add_image(f"pictures/{results.texts[row]}", picture, step, dataformats="HWC")
            if GROUND_TRUTH in results.controls:
                note = "\n".join(f"{name}: {value:.5g}" for name, value in results.controls[GROUND_TRUTH].items())
                writer.add_text("real pictures", note)
    for result in results.cells:
        settings = {"guidance_weight": result.cell.guidance_weight, "thresholding": result.cell.thresholding}
        with SummaryWriter(folder / "hparams" / result.cell.name) as writer:
            writer.add_hparams(settings, {_tag(n): v for n, v in result.metrics.items()}, run_name=".")


def _tag(metric: str) -> str:
    """`checker[colours]` becomes `checker/colours`: TensorBoard groups by the part before the slash."""
    return metric.replace("[", "/").removesuffix("]").replace(":", "-")
