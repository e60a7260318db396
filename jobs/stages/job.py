"""The flags of ``python -m jobs.search --stage N``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from jobs.execution import Execution
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.task import BATCH_SIZE, StageTask, build_stage_task


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
