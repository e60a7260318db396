"""A stage as a task: its problems, its methods, and what a run directory records of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sadt_ray.comparison import Entry
from sadt_ray.config import settings_of
from sadt_ray.engine.loop import SearchResult, describe_failures
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method
from sadt_ray.opentslm.answers import answered
from sadt_ray.opentslm.methods import STAGE_METHODS, StageMethod, stage_methods
from sadt_ray.opentslm.question_file import write_questions
from sadt_ray.opentslm.scores import StageScores, answer_scores, score_methods
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.setup import set_up_stage
from sadt_ray.opentslm.stage_reward import PreparedReward, prepare_reward
from sadt_ray.opentslm.tree_texts import write_tree_texts
from sadt_ray.processes.language.entropy import entropy_profile
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.runs.answer_file import Answered, read_answers, write_answers
from sadt_ray.runs.directory import write_json, write_tree
from sadt_ray.runs.scores import write_scores
from sadt_ray.tree.search import Search

BATCH_SIZE = 64
"""Tickets per batch by default: what one replica evaluates together."""
SUMMARY = "summary.json"
_TEXTS_OF = 8  # questions whose trees are shown
_PROFILED = 16  # questions of an entropy profile


@dataclass
class StageTask:
    """A stage that can be searched, recorded and scored.

    Attributes:
        settings: what the results follow from.
        process: the prior; answers are enumerated.
        problems: the questions.
        prepared: the reward and what it is based on.
        is_stand_in: whether the model is a stand-in for OpenTSLM.
        entropy_profile: rows ``depth, entropy, disagreement``; None if none was asked for.
        notes: sentences that belong beside every result.
        batch_size: tickets per batch.
        batches_in_flight: batches that are evaluated at the same time.
        answers: of the methods that were searched so far.
        seconds: time per question of these methods.
    """

    table_columns: ClassVar[tuple[str, ...]] = (
        "method", "rationales", "tokens", "seconds_per_example", "accuracy", "accuracy_se", "macro_f1", "kappa",
        "rouge_l", "ece", "unparsable", "accuracy_upstream",
    )  # fmt: skip

    flow: ClassVar[None] = None  # texts are not guided by F_phi

    settings: StageSettings
    process: CausalLMProcess
    problems: list[Problem]
    prepared: PreparedReward
    is_stand_in: bool
    entropy_profile: list[dict[str, float]] | None = None
    notes: list[str] = field(default_factory=list)
    batch_size: int = BATCH_SIZE
    batches_in_flight: int = 1
    answers: list[Answered] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def oracle(self) -> bool:
        """Whether the reward reads the gold answers."""
        return self.prepared.reward.oracle

    def entries(self) -> list[Entry]:
        """The methods in order, each with its prior and its reward."""
        return [
            Entry(self._search_method(method), self.process_for(method), self.reward_for(method))
            for method in stage_methods(self.settings.method)
        ]

    def process_for(self, method: StageMethod) -> CausalLMProcess:
        """The prior with the answers and the token law of a method."""
        process = self.process.with_answers("enumerated" if method.enumerated else "sampled")
        return process.with_law(sampling_temperature=0.0) if method.greedy else process

    def reward_for(self, method: StageMethod) -> WeightedSum:
        """The reward of a method; the empty sum if its target is the prior itself."""
        return self.prepared.reward if method.rewarded else WeightedSum()

    def describe(self) -> dict[str, Any]:
        """What the results follow from, for config.json."""
        return {
            "kind": "stage",
            "search": self.settings.as_recorded(),
            "methods": [settings_of(entry.method) for entry in self.entries()],
            "reward": repr(self.prepared.reward),
            "oracle": self.oracle,
            "stand_in": self.is_stand_in,
            "problems": [problem.name for problem in self.problems],
        }

    def write_inputs(self, run: Path) -> None:
        """Write ``questions.jsonl``."""
        write_questions(run, self.problems, self.prepared.templates)

    def recorded(self, run: Path) -> set[str]:
        """Read the answers that a run has recorded; returns the names of the methods that need no search."""
        self.answers = read_answers(run)
        summary = run / SUMMARY
        self.seconds = dict(json.loads(summary.read_text())["seconds"]) if summary.exists() else {}
        return {row.method for row in self.answers}

    def record(self, run: Path | None, entries: Sequence[Entry], result: SearchResult) -> None:
        """Record what a search found for the methods that share it; in a run directory, if there is one.

        A search that did not spend its budgets is not recorded: ``--resume`` continues it from its checkpoint. The
        answers are written last, because a method with answers is not searched again.
        """
        search = result.search
        if search.failures:
            names = ", ".join(entry.method.name for entry in entries)
            self.notes.append(
                f"{names}: {len(search.failures)} rollouts failed and were replaced by others: "
                f"{describe_failures(search.failures, search.names)}"
            )
        if search.wanting().any():
            return
        for entry in entries:
            method = STAGE_METHODS[entry.method.name]
            if run is not None and not method.flat:
                write_tree(run, method.name, search)
                self.write_tree_texts(run, method, search)
        self.answers += [row for entry in entries for row in self.answers_of(entry.method, search)]
        self.seconds |= {entry.method.name: result.seconds / len(self.problems) for entry in entries}
        if run is None:
            return
        write_scores(run, answer_scores(self.answers, captions=self.settings.spec.metric == "rouge_l"))
        self._write_summary(run, complete=False)
        write_answers(run, self.answers)

    def finish(self, run: Path | None, complete: bool, notes: Sequence[str] = ()) -> list[dict[str, object]]:
        """Write ``summary.json``, if there is a run directory; returns its rows, one per method.

        Args:
            complete: whether every method spent its budgets.
            notes: further sentences for the summary.
        """
        self.notes.extend(notes)
        return self.scores().rows if run is None else self._write_summary(run, complete).rows

    def answers_of(self, method: Method, search: Search) -> list[Answered]:
        """The answer to each question under a method, read off the samples of a search that spent its budgets."""
        known = search.with_samples().tolist()  # a question has no samples if all its texts have weight 0
        drawn = dict(zip(known, search.samples(method.search, known), strict=True))
        rewarded, rows = STAGE_METHODS[method.name].rewarded, []
        for number, problem in enumerate(self.problems):
            piloted = self.prepared.pilot.tokens.get(problem.name, 0) if rewarded else 0
            tokens, calls = int(search.nfe[number]) + piloted, int(search.reward_calls[number])
            rationales = int(search.told[number]) * method.smc.particles
            rows.append(answered(method.name, problem, drawn.get(number), rationales, tokens, calls))
        return rows

    def write_tree_texts(self, run: Path, method: StageMethod, search: Search) -> None:
        """Write ``tree/METHOD-texts.parquet``: the text at each node of the trees of the first few questions."""
        node = np.flatnonzero(search.problem_of_nodes() < _TEXTS_OF)
        problem = search.problem_of_nodes()[node]
        chain = self.process_for(method).bind(self.problems[:_TEXTS_OF])
        texts = chain.decode(search.states.values[node], problem).tolist()
        write_tree_texts(run, method.name, search, self.problems, node, texts)

    def scores(self) -> StageScores:
        """Scores of the methods that were searched so far."""
        oracles = [name for name in self.settings.method if self.reward_for(STAGE_METHODS[name]).oracle]
        return score_methods(self.settings.spec, self.problems, self.answers, self.seconds, oracles)

    def _search_method(self, method: StageMethod) -> Method:
        settings = self.settings
        shared: dict[str, Any] = {"inv_temperature": settings.inv_temperature, "seed": settings.seed}
        if not method.flat:
            given = {name: getattr(settings, name) for name in ("widen_c", "widen_alpha")}
            shared |= {name: value for name, value in given.items() if value is not None}
            shared |= {"branch_steps": settings.branch_steps} if settings.branch_steps else {}
        search_method = method.search_method(settings.n_rollouts, **shared)
        at_once = questions_at_once(search_method, method.flat, self.batch_size, self.batches_in_flight)
        return replace(search_method, search=replace(search_method.search, at_once=at_once))

    def _write_summary(self, run: Path, complete: bool) -> StageScores:
        scores = self.scores()
        write_json(
            run / SUMMARY,
            {
                "rows": scores.rows,
                "calibration": scores.calibration,
                "notes": self.notes,
                "template_accuracy": self.prepared.template_accuracy,
                "entropy_profile": self.entropy_profile,
                "seconds": self.seconds,
                "complete": complete,
            },
        )
        return scores


def build_stage_task(
    settings: StageSettings,
    tell: Callable[[str], None] = print,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    batches_in_flight: int = 1,
) -> StageTask:
    """Find the model, choose the questions, prepare the reward.

    Args:
        tell: receives messages for the user.
        device: of the model in this process. Workers move their replicas to devices of their own.
        batch_size: tickets per batch.
        batches_in_flight: batches that are evaluated at the same time: 1 in this process, about two per worker on Ray.

    Raises:
        ValueError, OSError: if the model, the questions or the reward cannot be had; the message says what to do.
    """
    setup = set_up_stage(settings, tell, device)
    process, asked = setup.process, setup.questions.asked
    prepared = prepare_reward(settings, process, asked, setup.questions.training)
    return StageTask(
        settings,
        process,
        asked,
        prepared,
        setup.is_stand_in,
        profile_rows(process, asked[:_PROFILED]) if settings.entropy_profile else None,
        notes=setup.notes + prepared.notes,
        batch_size=batch_size,
        batches_in_flight=batches_in_flight,
    )


def questions_at_once(method: Method, flat: bool, batch_size: int, batches_in_flight: int) -> int:
    """How many questions are searched at once: as many as fill the batches in flight.

    All rationales of a flat method may run at once. Those of a tree should come a few at a time, or the tree has
    nothing to select by.
    """
    tickets = method.search.n_rollouts or 1
    rows = (tickets if flat else max(tickets // 4, 1)) * method.smc.particles
    return -(-batch_size // rows) * batches_in_flight


def profile_rows(process: CausalLMProcess, problems: Sequence[Problem]) -> list[dict[str, float]]:
    """H(answer | text so far) step by step, as rows of ``summary.json``.

    Where the disagreement between texts grows, a tree has something to choose.
    """
    found = entropy_profile(process, problems)
    return [
        {"depth": float(step), "entropy": float(entropy), "disagreement": float(apart)}
        for step, entropy, apart in zip(found.steps, found.entropy, found.disagreement, strict=True)
    ]
