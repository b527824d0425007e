"""Precision and recall: generated pictures close to real ones, and real pictures close to generated ones."""

from imagen.errors import UserError
from imagen.tensors import Features, ReferenceFeatures


def precision_recall(generated: Features, reference: ReferenceFeatures, neighbours: int) -> tuple[float, float]:
    """torch-fidelity's precision (share of generated pictures inside the balls of real ones) and recall (share of real
    pictures inside the balls of generated ones), 0 to 1, in float64. Raises UserError unless both sides have more than
    `neighbours` pictures."""
    from torch_fidelity.metric_prc import calculate_precision_recall_part

    fewest = min(len(generated), len(reference))
    if fewest <= neighbours:
        raise UserError(f"precision and recall need more than {neighbours} pictures on each side, found {fewest}")
    return calculate_precision_recall_part(generated.double(), reference.double(), neighbours, batch_size=1024)
