"""Several methods on the same problems: searched one after the other, drawn, scored, and recorded as they end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sadt_ray.config import settings_of
from sadt_ray.engine.loop import SearchResult, SearchStats, describe_failures
from sadt_ray.engine.plan import SearchPlan, check_rollouts, plan_search
from sadt_ray.engine.progress import SearchBar
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.weight_source import LearnerUpdate
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method
from sadt_ray.runs.condition_columns import CONDITION_COLUMNS, condition_columns, weightless_notes
from sadt_ray.runs.directory import write_json, write_problems, write_samples, write_tree
from sadt_ray.runs.recording import Recording
from sadt_ray.runs.results import SampleResult
from sadt_ray.runs.scores import ProblemScores, forecast_scores, write_scores
from sadt_ray.runs.summary import Scores, score_problem, summary_row
from sadt_ray.runs.tables import format_cell, html_table, text_table
from sadt_ray.session import NO_FLOW, FlowSource, SessionFactory, nothing
from sadt_ray.tree.search import Search

Row = dict[str, object]

TABLE_COLUMNS = (
    "method", "rollouts", "nfe", "reward_calls", "seconds_per_context", "reward", "probability", "probability_low",
    "probability_high", "satisfied", "log_z", "log_z_se", "ess", "root_ess", "without_weight",
    "crps", "crps_vs_prior", "crps_vs_prior_se", "coverage90", "spec_w1", "log_spectral_distance",
)  # fmt: skip
"""Columns of ``runs.summary.summary_row`` that tables show, where a row has them."""
_NOT_ALWAYS = (*CONDITION_COLUMNS, "without_weight")


def shown_columns(rows: Sequence[Row]) -> list[str]:
    """Those of ``TABLE_COLUMNS`` that rows have; columns of conditions and of what has no weight only where needed."""
    return [name for name in TABLE_COLUMNS if name not in _NOT_ALWAYS or any(row.get(name) is not None for row in rows)]


class Entry(NamedTuple):
    """One method of a task, with what it searches.

    Attributes:
        method: named as in tables, its number of rollouts known.
        process, reward: entries that follow each other and share both share a session.
    """

    method: Method
    process: GenerativeProcess
    reward: Reward


@runtime_checkable
class Task(Protocol):
    """Problems and methods, ready to be searched: forecasts, questions of a stage, or a user's own."""

    notes: list[str]
    """Sentences that belong beside every result, such as a fallback that was taken."""

    @property
    def problems(self) -> Sequence[Problem]: ...

    @property
    def flow(self) -> Flow | None:
        """F_phi that guides methods which read one; None if there is none."""

    @property
    def table_columns(self) -> Sequence[str]:
        """Columns of the rows that are printed."""

    def entries(self) -> Sequence[Entry]:
        """The methods in their order."""

    def describe(self) -> dict[str, Any]:
        """Everything that the run follows from, for ``config.json``: ``kind``, ``search`` (settings), ``methods``."""

    def write_inputs(self, run: Path) -> None:
        """Write what is asked into a new run directory."""

    def recorded(self, run: Path) -> set[str]:
        """Take over what a run that is resumed has recorded; the methods that need no search any more."""

    def record(self, run: Path | None, entries: Sequence[Entry], result: SearchResult) -> None:
        """Take in a search that is over, also one that ended early, for the entries that share it."""

    def finish(self, run: Path | None, complete: bool, notes: Sequence[str] = ()) -> Sequence[Row]:
        """Write the summary; returns its rows."""


def searches_of(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries of each search: those that differ in the final draw alone share one, which is their first's."""
    waiting = list(entries)
    while waiting:
        shared = [entry for entry in waiting if waiting[0].method.same_search(entry.method)]
        waiting = [entry for entry in waiting if not any(entry is other for other in shared)]
        yield shared


def check_entries(entries: Sequence[Entry], problems: Sequence[Problem], flow: Flow | None = None) -> list[SearchPlan]:
    """The plans of the entries. Raises ValueError for whatever cannot be searched, before anything is."""
    plans = []
    for method, process, reward in entries:
        plan = plan_search(process, problems, method)
        check_rollouts(plan, process, reward, problems[0], flow)
        plans.append(plan)
    return plans


def run_task(
    task: Task,
    open_session: SessionFactory,
    recording: Recording | None = None,
    flow_source: FlowSource = NO_FLOW,
    progress: Callable[[str, Method, int], SearchBar] | None = None,
    on_stats: Callable[[SearchStats], None] | None = None,
    on_wait: Callable[[], None] = nothing,
    on_learned: Callable[[LearnerUpdate | None], None] | None = None,
) -> None:
    """Search all entries of a task, and have each recorded as soon as its search is over.

    Args:
        open_session: where the searches run.
        recording: where they leave records and checkpoints.
        flow_source: where the flow comes from.
        progress: makes the progress bar of a search, from its label, its method and the number of problems.
        on_stats, on_wait: see ``Session.search``.
        on_learned: called with what the learner of a session has learned.

    Raises:
        Whatever ended a search early, after it was recorded.
    """
    run = None if recording is None else recording.run
    done = set() if run is None else task.recorded(run)
    left = [entry for entry in task.entries() if entry.method.name not in done]
    for _, part in groupby(left, key=lambda entry: (id(entry.process), id(entry.reward))):
        entries = list(part)
        _, process, reward = entries[0]
        smallest = min(_rollouts(plan_search(process, task.problems, entry.method)) for entry in entries)
        with open_session(process, reward, task.problems, recording, smallest, flow_source) as session:
            session.wait_for_workers(on_wait)
            try:
                for shared in searches_of(entries):
                    plan = plan_search(process, task.problems, shared[0].method)
                    label = ", ".join(entry.method.name for entry in shared)
                    bar = None if progress is None else progress(label, shared[0].method, len(task.problems))
                    result = _searched(session.search, plan, bar, on_stats, on_wait)
                    task.record(run, shared, result)
                    if result.error is not None:
                        raise result.error
            finally:
                if flow_source.learning is not None and on_learned is not None:
                    on_learned(session.learned())


def _searched(
    search: Callable[..., SearchResult],
    plan: SearchPlan,
    bar: SearchBar | None,
    on_stats: Callable[[SearchStats], None] | None,
    on_wait: Callable[[], None],
) -> SearchResult:
    if bar is None:
        return search(plan, on_stats, on_wait)
    with bar:

        def show(stats: SearchStats) -> None:
            bar.show(stats)
            if on_stats is not None:
                on_stats(stats)

        result = search(plan, show, on_wait)
        bar.finish(result.search)
    return result


def _rollouts(plan: SearchPlan) -> int:
    """Number of rollouts of a plan; particle systems lose little to each other, so each particle counts."""
    return plan.simulations * plan.smc.particles


@dataclass
class Comparison(Mapping[str, SampleResult]):
    """Methods on the same problems: a mapping from their names to their results, with one row each.

    It grows while the methods are searched, and writes what it has after each, so that a later failure costs nothing.

    Attributes:
        problems: that were searched.
        run: the run directory; None where nothing is written.
        notes: sentences that belong beside the results.
        rows: one per method, see ``runs.summary.summary_row``.
        learned: figures of a learner.
        reward: that was searched for; with a condition in it, rows have the columns of conditions.
    """

    problems: Sequence[Problem]
    run: Path | None = None
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    learned: dict[str, object] = field(default_factory=dict)
    reward: Reward | None = None
    _results: dict[str, SampleResult] = field(default_factory=dict)
    _scores: list[ProblemScores] = field(default_factory=list)
    _prior_scores: list[Scores] | None = None

    def __getitem__(self, method: str) -> SampleResult:
        if method not in self._results:
            raise KeyError(f"{method!r} is not among {', '.join(self._results) or 'the results, which are empty'}")
        return self._results[method]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def add(self, methods: Sequence[Method], search: Search, seconds: float) -> None:
        """The methods that share a search, drawn each in its own way; one that was cut short counts as it is.

        A method that was stopped before it had a sample of some of the problems has a result, which says so, and no
        row. Problems of which no sample has any weight are left out of its averages, see ``runs.summary.quality``.
        """
        for method in methods:
            result = SampleResult.of_search(method, self.problems, search, seconds, run=self.run)
            self._results[method.name] = result
            if not any(math.isnan(found.log_z) for found in result):  # no rollout of it has come back
                self._add_row(method, result, search, seconds)
                self.notes.extend(weightless_notes(result, self.reward))
        self.notes.extend(_remarks(methods[0], search))
        if search.num_levels > 1 and self.run is not None:
            write_tree(self.run, methods[0].name, search)
        self.write(complete=False)
        whole = {str(row["method"]): list(self._results[str(row["method"])]) for row in self.rows}
        if whole and self.run is not None:
            write_samples(self.run, search.names, whole)
            write_scores(self.run, self._scores)

    def _add_row(self, method: Method, drawn: SampleResult, search: Search, seconds: float) -> None:
        scores = [score_problem(problem, samples) for problem, samples in zip(self.problems, drawn, strict=True)]
        if method.name == "prior":
            self._prior_scores = scores
        row = summary_row(method, search, drawn, scores, self._prior_scores, seconds)
        self.rows.append(row | condition_columns(method, self.reward, self.problems, drawn))
        self._scores += forecast_scores(method.name, self.problems, drawn, scores, search.nfe.tolist())

    def write(self, complete: bool) -> None:
        """Write ``summary.json``, if there is a run directory."""
        if self.run is not None:
            learned = {"learner": self.learned} if self.learned else {}
            content = {"rows": self.rows, "notes": self.notes, **learned, "complete": complete}
            write_json(self.run / "summary.json", content)

    def __repr__(self) -> str:
        return "\n".join([text_table(shown_columns(self.rows), self._cells()), *self.notes])

    def _repr_html_(self) -> str:
        return html_table(f"{len(self.problems)} problems", shown_columns(self.rows), self._cells(), self.notes)

    def _cells(self) -> list[list[str]]:
        return [[format_cell(row.get(column)) for column in shown_columns(self.rows)] for row in self.rows]

    @property
    def impossible(self) -> list[str]:
        """Problems of which no method that weighs samples by the reward has one of any weight."""
        weighing = [found for found in self._results.values() if found and found[0].by_reward]
        names = [problem.name for problem in self.problems]
        if not weighing:
            return []
        return [name for name in names if all(found[name].log_z == -math.inf for found in weighing)]


def _remarks(method: Method, search: Search) -> Iterator[str]:
    """What has to be said of a search that did not go as it should."""
    missing = [name for name, told in zip(search.names, search.told, strict=True) if told == 0]
    if missing:
        yield (
            f"{method.name} has no sample for {len(missing)} of {len(search.names)} contexts, such as {missing[0]}: "
            "it was stopped before; it has no row."
        )
    if search.failures:
        yield (
            f"{method.name}: {len(search.failures)} of {int(search.asked.sum()):,} rollouts were set aside and others "
            f"run in their place: {describe_failures(search.failures, search.names)}"
        )


@dataclass
class ComparisonTask:
    """Methods that search the same problems with one process and one reward; a ``Task``.

    Attributes:
        process, problems, reward: what is searched.
        methods: with their numbers of rollouts.
        flow: that guides methods which read one from the start; None if there is none.
        notes: sentences that belong beside every result, such as a fallback that was taken.
        comparison: what was found so far.
    """

    process: GenerativeProcess
    problems: Sequence[Problem]
    reward: Reward
    methods: Sequence[Method]
    flow: Flow | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.comparison = Comparison(self.problems, notes=self.notes, reward=self.reward)

    @property
    def table_columns(self) -> Sequence[str]:
        return shown_columns(self.comparison.rows)

    def entries(self) -> list[Entry]:
        return [Entry(method, self.process, self.reward) for method in self.methods]

    def describe(self) -> dict[str, Any]:
        """Of a task that was put together in Python: process and reward are known by their names alone."""
        return {
            "kind": "python",
            "search": {"process": described(self.process), "reward": described(self.reward)},
            "methods": [settings_of(method) for method in self.methods],
            "problems": [problem.name for problem in self.problems],
            "oracle": self.reward.oracle,
        }

    def write_inputs(self, run: Path) -> None:
        write_problems(run, self.problems)

    def recorded(self, run: Path) -> set[str]:
        """None: a search that ended is found as it ended in its last checkpoint."""
        return set()

    def record(self, run: Path | None, entries: Sequence[Entry], result: SearchResult) -> None:
        self.comparison.run = run
        self.comparison.add([entry.method for entry in entries], result.search, result.seconds)

    def finish(self, run: Path | None, complete: bool, notes: Sequence[str] = ()) -> list[Row]:
        self.comparison.run = run
        self.comparison.notes.extend(notes)
        self.comparison.write(complete)
        return self.comparison.rows


def described(thing: object) -> str:
    """The ``repr`` of a process or a reward, or the name of its class where that has none of its own."""
    kind = type(thing)
    return repr(thing) if kind.__repr__ is not object.__repr__ else f"{kind.__module__}:{kind.__qualname__}"
