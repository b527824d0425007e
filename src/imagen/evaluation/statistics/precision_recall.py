"""How many generated pictures lie among the real ones, and the other way round."""

from imagen.errors import UserError
from imagen.tensors import Features, ReferenceFeatures


def precision_recall(generated: Features, reference: ReferenceFeatures, neighbours: int) -> tuple[float, float]:
    """torch-fidelity's precision (generated pictures inside the balls of real ones) and recall (the other way round),
    0 to 1, in float64. Raises UserError unless both sides have more than `neighbours` pictures."""
    from torch_fidelity.metric_prc import calculate_precision_recall_part

    fewest = min(len(generated), len(reference))
    if fewest <= neighbours:
        raise UserError(f"precision and recall need more than {neighbours} pictures on each side, found {fewest}")
    return calculate_precision_recall_part(generated.double(), reference.double(), neighbours, batch_size=1024)
