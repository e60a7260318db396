"""The five stages of OpenTSLM in one table: the answers, how a text gives them, and the metric."""

from __future__ import annotations

from dataclasses import dataclass

SLEEP_LABELS = ("Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep", "Movement")
HAR_LABELS = ("biking", "lying", "running", "sitting", "standing", "walking", "walking_down", "walking_up")
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class StageSpec:
    """One stage.

    Attributes:
        number: 1 to 5, in the order in which OpenTSLM is trained on them.
        name: NAME in the name of a published checkpoint, ``llama-3.2-1b-NAME-sp``.
        labels: all answers; empty if there are none (2) or if each question has its own (5).
        marker: what announces the answer in a text; ``""`` if the text begins with it (1) or is the answer (2).
        ends: whether a text ends with its answer.
        metric: the main metric: ``accuracy``, ``rouge_l``, ``macro_f1`` or ``kappa``.
        std_ddof: 1 if the standard deviation in the prompt divides by n - 1, 0 if by n. Upstream uses both.
        sampling_rate: samples per second; 0 if the series have none.
        num_series: number of series in a prompt.
        max_tokens: tokens that suffice for an answer with its reasons under the published tokenizers.
    """

    number: int
    name: str
    labels: tuple[str, ...]
    marker: str
    ends: bool
    metric: str
    std_ddof: int
    sampling_rate: float
    num_series: int
    max_tokens: int


STAGES: dict[int, StageSpec] = {
    spec.number: spec
    for spec in (
        StageSpec(1, "tsqa", ("(a)", "(b)", "(c)"), "", False, "accuracy", 1, 0.0, 1, 16),
        StageSpec(2, "m4", (), "", False, "rouge_l", 1, 0.0, 1, 400),
        StageSpec(3, "har", HAR_LABELS, "Answer:", True, "macro_f1", 1, 50.0, 3, 300),
        StageSpec(4, "sleep", SLEEP_LABELS, "Answer:", True, "kappa", 0, 50.0, 1, 300),
        StageSpec(5, "ecg", (), "Answer:", True, "accuracy", 0, 100.0, 12, 400),
    )
}


def stage_spec(stage: int | str) -> StageSpec:
    """A stage by its number or its name. Raises ValueError listing the stages for anything else."""
    for spec in STAGES.values():
        if stage in (spec.number, str(spec.number), spec.name):
            return spec
    known = ", ".join(f"{spec.number} ({spec.name})" for spec in STAGES.values())
    raise ValueError(f"there is no stage {stage!r}; choose one of {known}")
