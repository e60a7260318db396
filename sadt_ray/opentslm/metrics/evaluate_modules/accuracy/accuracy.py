"""Share of the claimed labels that are true."""

import datasets
import evaluate

from sadt_ray.opentslm.metrics.labels import accuracy

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class Accuracy(evaluate.Metric):  # type: ignore[misc]
    """Share of the claimed labels that are true."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of the claimed labels that are true.",
            citation="",
            inputs_description="predictions: claimed labels, an empty text for no answer; references: true labels.",
            features=datasets.Features(_FEATURES),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"accuracy": accuracy(references, predictions)}
