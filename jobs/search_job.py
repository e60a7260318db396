"""What ``python -m jobs.search`` can be told about a forecast, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jobs.execution import Execution
from sadt_ray.flow.learner import LearnerSpec
from sadt_ray.forecasting import ForecastSettings, ForecastTask, build_forecast_task, learner_for, renamed_settings

HOME = Path("runs/search")
"""Where runs go that are given no directory."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "What is forecast": (
        "dataset", "data_file", "backbone", "checkpoint", "split", "windows", "num_windows", "channels",
    ),
    "What must hold": ("reward", "given", "spectral_weight", "inv_temperature", "temperature"),
    "How it is searched": ("method", "n_rollouts", "max_nfe", "until_ess", "until_se", "seed"),
    "Trees": (
        "branch_steps", "selection", "selection_inv_temperature", "c_uct", "widening", "widen_c", "widen_alpha",
        "virtual_loss", "alpha", "alpha_visits",
    ),
    "Particles and the flow": (
        "particles", "resampling", "twist", "flow", "learn", "buffer_path", "record_particles",
    ),
    "Where results go": ("out", "report", "trajectories", "resume"),
}  # fmt: skip


@dataclass(frozen=True)
class SearchJob(ForecastSettings):
    """What to search, how long, and where the results go."""

    spectral_weight: Annotated[float, tyro.conf.arg(aliases=["--spectral-gamma", "--spectral_gamma"])] = 1.0
    """Weight of the spectral reward -mean|log S_x - log S_context|, added to the task; 0 leaves it out."""
    record_particles: Annotated[bool, tyro.conf.arg(aliases=["--harvest"])] = False
    """Record every particle, in groups of 8 siblings, for `python -m jobs.train flow`."""
    temperature: float | None = None
    """1/lambda, in place of --inv-temperature."""
    out: Path | None = None
    """Run directory; runs/search/DATE-TIME by default."""
    report: bool = True
    """Write report.html and plots/."""
    resume: str | None = None
    """Go on with a run that was stopped: its directory, or the address of its checkpoints. It keeps its settings."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)

    def resolved_inv_temperature(self) -> float:
        """lambda from either flag. Raises ValueError if both are given or the temperature is not positive."""
        if self.temperature is None:
            return super().resolved_inv_temperature()
        if self.inv_temperature is not None:
            raise ValueError("give --inv-temperature or --temperature, not both")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        return 1 / self.temperature

    def build_task(self, tell: Callable[[str], None]) -> ForecastTask:
        """See ``build_forecast_task``. Raises ValueError for learning that could not begin, or would be of no use."""
        task = build_forecast_task(self, tell)
        self.learner(task, Path())  # refused before a run directory exists
        return task

    def learner(self, task: ForecastTask, run: Path) -> LearnerSpec | None:
        """The learner beside the searches, if one is asked for."""
        return learner_for(task, run, self.execution.learner_cpus)

    @staticmethod
    def settings_in(config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings in a run's ``config.json``, under today's names."""
        return renamed_settings(config["search"])
