"""Answer a stage's questions with frozen OpenTSLM: greedily, by votes, and by search under a reward.

Prints one row per method with its accuracy, calibration and cost, and writes a run directory with every answer, its
probabilities and reasons (answers.parquet, answers.jsonl) and a report (report.html).
Ctrl-C stops and keeps what there is; --resume goes on.

Examples:
    python -m jobs.search --stage 3
    python -m jobs.search --stage har --checkpoint OpenTSLM/llama-3.2-1b-har-sp --data-file mine.csv
    python -m jobs.search --stage 4 --method answer-vote sadt --n-rollouts 16 --reward "format + 0.5*spectral-label"
    python -m jobs.search --stage 2 --num-examples 8 --executor serial
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from jobs.execution import Execution
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.task import BATCH_SIZE, StageTask, build_stage_task

HOME = Path("runs/stages")
"""Where runs go that are given no directory."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "What is asked": ("stage", "data_file", "split", "num_examples"),
    "Which model answers": ("checkpoint", "revision", "base", "dtype", "compile", "sampling_temperature", "top_k",
                            "top_p", "max_tokens"),
    "What an answer must agree with": ("reward", "spectral_weight", "verifier", "inv_temperature"),
    "How it is searched": ("method", "n_rollouts", "blocks", "block_tokens", "num_blocks", "branch_steps", "widen_c",
                           "widen_alpha", "seed", "entropy_profile"),
    "Where results go": ("out", "report", "trajectories", "resume"),
}  # fmt: skip


@dataclass(frozen=True)
class StageJob(StageSettings):
    """Which questions, which model, which methods, and where the results go."""

    stage: str = ""
    """The stage: 1 or tsqa, 2 or m4 (captions), 3 or har, 4 or sleep, 5 or ecg."""
    spectral_weight: Annotated[float, tyro.conf.arg(aliases=["--spectral-gamma", "--spectral_gamma"])] = 1.0
    """Weight of the spectral term in the default reward; 0 leaves it out."""
    out: Path | None = None
    """Run directory; runs/stages/DATE-TIME by default."""
    report: bool = True
    """Write report.html and plots/."""
    trajectories: bool = False
    """Write trajectories/, every node of every tree with its state."""
    resume: str | None = None
    """Continue a run that was stopped: its directory. It keeps its settings."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.stage:
            super().__post_init__()
        elif self.resume is None:
            raise ValueError("which stage? give --stage 1 to 5")

    def settings(self) -> StageSettings:
        """What the results follow from."""
        return StageSettings(**{each.name: getattr(self, each.name) for each in fields(StageSettings)})

    def build_task(self, tell: Callable[[str], None]) -> StageTask:
        """The task, with its model where this process evaluates it: the pilot, and the methods without workers."""
        execution = self.execution
        serial = execution.executor == "serial"
        return build_stage_task(
            self.settings(),
            tell,
            device=execution.device if serial else "cpu",
            batch_size=execution.batch_size or BATCH_SIZE,
            batches_in_flight=1 if serial else 2 * (execution.num_workers or 2),
        )

    @staticmethod
    def settings_in(config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings in a run's ``config.json``, under today's names."""
        settings: Mapping[str, Any] = config["search"]
        return settings
