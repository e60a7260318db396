"""Cohen's kappa: agreement beyond chance; no answer is a category of its own."""

import datasets
import evaluate

from sadt_ray.opentslm.metrics.labels import cohens_kappa

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class Kappa(evaluate.Metric):  # type: ignore[misc]
    """Cohen's kappa: agreement beyond chance; no answer is a category of its own."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Cohen's kappa: agreement beyond chance; no answer is a category of its own.",
            citation="Cohen 1960, doi:10.1177/001316446002000104",
            inputs_description="predictions: claimed labels, an empty text for no answer; references: true labels.",
            features=datasets.Features(_FEATURES),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"kappa": cohens_kappa(references, [claim or None for claim in predictions])}
