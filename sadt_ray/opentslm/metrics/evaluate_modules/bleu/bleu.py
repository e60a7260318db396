"""BLEU-4 of a corpus in [0, 1], as sacreBLEU computes it."""

import datasets
import evaluate

from sadt_ray.opentslm.metrics.text import corpus_bleu

_FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class Bleu(evaluate.Metric):  # type: ignore[misc]
    """BLEU-4 of a corpus in [0, 1], as sacreBLEU computes it."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="BLEU-4 of a corpus in [0, 1], as sacreBLEU computes it.",
            citation="Papineni et al. 2002, doi:10.3115/1073083.1073135",
            inputs_description="predictions: generated texts; references: one gold text each.",
            features=datasets.Features(_FEATURES),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"bleu": corpus_bleu(predictions, references)}
