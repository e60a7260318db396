"""What a run has finished so far, written after every search, so that a later failure costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from jobs.tables import print_table
from sadt_ray.engine.loop import describe_failures
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method
from sadt_ray.runs.directory import write_json, write_samples, write_tree
from sadt_ray.runs.scores import ProblemScores, forecast_scores, write_scores
from sadt_ray.runs.summary import Scores, score_problem, summary_row
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search

_TABLE_COLUMNS = (
    "method", "rollouts", "nfe", "reward_calls", "seconds_per_context", "reward", "log_z", "log_z_se", "ess",
    "root_ess", "crps", "crps_vs_prior", "crps_vs_prior_se", "coverage90", "spec_w1", "log_spectral_distance",
)  # fmt: skip


@dataclass
class Outcome:
    """Rows and samples of the finished methods, and sentences to print below."""

    run: Path
    problems: Sequence[Problem]
    notes: list[str]
    rows: list[dict[str, object]] = field(default_factory=list)
    samples: dict[str, list[WeightedSamples]] = field(default_factory=dict)
    learned: dict[str, object] = field(default_factory=dict)  # figures of a learner
    scores: list[ProblemScores] = field(default_factory=list)
    _prior_scores: list[Scores] | None = None

    def add(self, group: Sequence[Method], search: Search, seconds: float) -> None:
        """The methods that share a search, drawn each in its own way; a search that was cut short counts as it is."""
        if (search.told == 0).any():
            self.notes.append(f"{group[0].name} was stopped before every context had a sample; it is left out.")
        else:
            for method in group:
                self._add_method(method, search, seconds)
            if search.num_levels > 1:
                write_tree(self.run, group[0].name, search)
        if search.failures:
            self.notes.append(
                f"{group[0].name}: {len(search.failures)} of {int(search.asked.sum()):,} rollouts were set aside and "
                f"others run in their place: {describe_failures(search.failures, search.names)}"
            )
        self._write(complete=False)
        if self.samples:
            write_samples(self.run, search.names, self.samples)
            write_scores(self.run, self.scores)

    def _add_method(self, method: Method, search: Search, seconds: float) -> None:
        drawn = search.samples(method.search)
        scores = [score_problem(problem, samples) for problem, samples in zip(self.problems, drawn, strict=True)]
        if method.name == "prior":
            self._prior_scores = scores
        self.rows.append(summary_row(method, search, drawn, scores, self._prior_scores, seconds))
        self.samples[method.name] = drawn
        self.scores += forecast_scores(method.name, self.problems, drawn, scores, search.nfe.tolist())

    def close(self, console: Console, complete: bool) -> None:
        """Write the last notes and print everything."""
        self._write(complete)
        print_table(console, [{column: row[column] for column in _TABLE_COLUMNS} for row in self.rows])
        for note in self.notes:
            console.print(note, markup=False)

    def _write(self, complete: bool) -> None:
        learned = {"learner": self.learned} if self.learned else {}
        content = {"rows": self.rows, "notes": self.notes, **learned, "complete": complete}
        write_json(self.run / "summary.json", content)
