"""The contract of judges that look at a picture and answer questions about it. They have no features."""

from abc import abstractmethod
from collections.abc import Sequence

from imagen.evaluation.judges.extractor import Judge
from imagen.evaluation.judges.metric import SOFT_TIFA_AM, SOFT_TIFA_GM, VQA, Metric
from imagen.evaluation.prompts.prompt_set import Question
from imagen.tensors import PerImage, Pixels


class Answerer(Judge):
    """Tells how well pictures fit captions, and how probable the right answers to questions about them are. There is no
    Fréchet distance of it, so nobody asks it for features or for a reference."""

    @property
    def metrics(self) -> dict[str, Metric]:
        keys = {axis: f"{axis}[{self.name}]" for axis in (VQA, SOFT_TIFA_AM, SOFT_TIFA_GM)}
        return {axis: Metric.of_judge(key, self.name, axis) for axis, key in keys.items()}

    @abstractmethod
    def caption_scores(self, pixels: Pixels, captions: Sequence[str]) -> PerImage:
        """How well each picture fits its caption, 0 to 1, float64 on the CPU."""

    @abstractmethod
    def answers(self, pixels: Pixels, questions: Sequence[Sequence[Question]]) -> list[list[float]]:
        """For each picture, the probability of the right answer to each of its own questions, 0 to 1."""
