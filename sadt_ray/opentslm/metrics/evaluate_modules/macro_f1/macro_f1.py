"""Mean F1 of the classes that occur; a text without an answer is a miss."""

import datasets
import evaluate

from sadt_ray.opentslm.metrics.labels import macro_f1

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class MacroF1(evaluate.Metric):  # type: ignore[misc]
    """Mean F1 of the classes that occur; a text without an answer is a miss."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean F1 of the classes that occur; a text without an answer is a miss.",
            citation="",
            inputs_description="predictions: claimed labels, an empty text for no answer; references: true labels.",
            features=datasets.Features(_FEATURES),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"macro_f1": macro_f1(references, [claim or None for claim in predictions])}
