"""Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, as Google's rouge_score computes them."""

import datasets
import evaluate

from sadt_ray.opentslm.metrics.text import rouge_scores

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class Rouge(evaluate.Metric):  # type: ignore[misc]
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, as Google's rouge_score computes them."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, as Google's rouge_score computes them.",
            citation="Lin 2004, aclanthology.org/W04-1013",
            inputs_description="predictions: generated texts; references: one gold text each.",
            features=datasets.Features(_FEATURES),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scores = rouge_scores(predictions, references)
        return {name: sum(values) / len(values) for name, values in scores.items()}
