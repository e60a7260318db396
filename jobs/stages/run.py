"""Answer a stage's questions with frozen OpenTSLM: greedily, by votes, and by search under a reward.

Prints one row a method with its accuracy, calibration and cost, and writes a run directory with every answer, its
probabilities and reasons (answers.parquet, answers.jsonl) and a report (report.html).
Ctrl-C stops and keeps what there is; --resume goes on.

Examples:
    python -m jobs.search --stage 3
    python -m jobs.search --stage har --checkpoint OpenTSLM/llama-3.2-1b-har-sp --data-file mine.csv
    python -m jobs.search --stage 4 --method answer-vote sadt --n-rollouts 16 --reward "format + 0.5*spectral-label"
    python -m jobs.search --stage 2 --num-examples 8 --executor serial
"""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console

from jobs.execution import Opener, choose_executor, close_executor
from jobs.interrupt import Interrupted, Watch
from jobs.refusal import refusing
from jobs.reporting import page_or_reason
from jobs.resume import Resumed, find_run, refuse_complete
from jobs.stages.job import ROWS_AT_ONCE, StageJob
from jobs.stages.methods import StageMethod
from jobs.stages.question_file import write_questions
from jobs.stages.scores import StageScores, score_methods
from jobs.stages.task import StageTask, build_task
from jobs.tables import print_table
from sadt_ray.engine.loop import RolloutFailed, SearchStats, Tolerance, describe_failures
from sadt_ray.engine.plan import SearchPlan, check_rollouts, plan_search
from sadt_ray.engine.progress import SearchBar
from sadt_ray.methods import Method
from sadt_ray.opentslm.answers import Answered, answered, read_answers, write_answers
from sadt_ray.runs.directory import create_run_directory, write_json, write_tree
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recording import CannotResume, Recording, SearchFailed
from sadt_ray.runs.scores import answer_scores, write_scores
from sadt_ray.tree.search import Search
from sadt_ray.tree.warm_up import compile_kernels

_TABLE_COLUMNS = (
    "method", "rationales", "tokens", "seconds_per_example", "accuracy", "accuracy_se", "macro_f1", "kappa", "rouge_l",
    "ece", "unparsable", "accuracy_upstream",
)  # fmt: skip


@dataclass
class StageRun:
    """A run that goes on: what was answered so far, method by method."""

    job: StageJob
    task: StageTask
    directory: Path
    open_session: Opener
    answers: list[Answered] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def run(self, console: Console, watch: Watch) -> None:
        """Every method that has not answered yet; each is recorded as soon as it has."""
        for method, search in self.job.searches():
            if not any(row.method == method.name for row in self.answers):
                self._answer(method, search, console, watch)

    def _answer(self, method: StageMethod, search: Method, console: Console, watch: Watch) -> None:
        process, reward = self.task.process_for(method), self.task.reward_for(method)
        search = in_turns(search, method, self.job)
        plan = plan_search(process, self.task.problems, search)
        check_rollouts(plan, process, reward, self.task.problems[0])
        session = self.open_session(process, reward, self.task.problems, self.recording(), plan.simulations)
        with session as running, SearchBar(console, method.name, search.search, len(self.task.problems)) as bar:
            running.wait_for_workers(watch.check)

            def on_stats(stats: SearchStats) -> None:
                bar.show(stats)
                watch.stats(stats)

            ended = running.search(plan, on_stats, watch.check)
            bar.finish(ended.search)
        self.record(method, plan, ended.search, ended.seconds)
        if ended.error is not None:
            raise ended.error

    def record(self, method: StageMethod, plan: SearchPlan, search: Search, seconds: float) -> None:
        """The answers of a search that spent its budgets; of one that did not, nothing: --resume goes on with it."""
        if search.failures:
            self.notes.append(
                f"{method.name}: {len(search.failures)} rollouts were set aside and others run in their place: "
                f"{describe_failures(search.failures, search.names)}"
            )
        if search.wanting().any():
            return
        particles = plan.smc.particles
        known = search.with_samples().tolist()  # a question whose texts were all worth nothing has none
        drawn = dict(zip(known, search.samples(problems=known), strict=True))
        for number, problem in enumerate(self.task.problems):
            piloted = self.task.pilot.tokens.get(problem.name, 0) if method.rewarded else 0
            tokens, calls = int(search.nfe[number]) + piloted, int(search.reward_calls[number])
            rationales = int(search.told[number]) * particles
            self.answers.append(answered(method.name, problem, drawn.get(number), rationales, tokens, calls))
        self.seconds[method.name] = seconds / len(self.task.problems)
        if not method.flat:
            write_tree(self.directory, method.name, search)
            self.task.write_tree_texts(self.directory, method, search)
        write_scores(self.directory, answer_scores(self.answers, captions=self.job.spec.metric == "rouge_l"))
        write_answers(self.directory, self.answers)  # last: who has answered is not asked again by --resume
        self.write_summary(complete=False)

    def write_summary(self, complete: bool) -> StageScores:
        scores = score_methods(self.job.spec, self.task.problems, self.answers, self.seconds, self.oracles())
        write_json(
            self.directory / "summary.json",
            {
                "rows": scores.rows,
                "calibration": scores.calibration,
                "notes": self.task.notes + self.notes,
                "template_accuracy": self.task.template_accuracy,
                "entropy_profile": self.task.entropy_profile,
                "seconds": self.seconds,
                "complete": complete,
            },
        )
        return scores

    def oracles(self) -> list[str]:
        """Methods whose reward read the gold answers."""
        return [method.name for method in self.job.methods if self.task.reward_for(method).oracle]

    def recording(self) -> Recording:
        execution, run = self.job.execution, self.directory.absolute()
        return Recording(
            run=run,
            checkpoint_to=execution.checkpoint_to or str(run / "checkpoints"),
            every_seconds=execution.checkpoint_seconds,
            every_simulations=execution.checkpoint_simulations,
            keep_trajectories=self.job.trajectories,
            tolerance=Tolerance(share=execution.tolerate_failures),
        )


def in_turns(search: Method, method: StageMethod, job: StageJob) -> Method:
    """The search with as many questions at once as fill the batches that are in flight.

    All rationales of a flat method may run at once; a tree's should come a few at a time, or it has nothing to go by.
    """
    tickets = search.search.n_rollouts or 1
    rows = (tickets if method.flat else max(tickets // 4, 1)) * search.smc.particles
    in_flight = 1 if job.execution.executor == "serial" else 2 * (job.execution.num_workers or 2)
    at_once = -(-(job.execution.batch_size or ROWS_AT_ONCE) // rows) * in_flight
    return replace(search, search=replace(search.search, at_once=at_once))


def parse(arguments: list[str]) -> tuple[StageJob, list[str], Resumed | None]:
    """The job of the command line; with --resume that of the run."""
    job = tyro.cli(StageJob, description=__doc__, args=arguments)
    if job.resume is None:
        return job, arguments, None
    resumed = find_run(job.resume)
    arguments = resumed.arguments(arguments)
    return replace(tyro.cli(StageJob, args=arguments), out=resumed.run), arguments, resumed


def prepare(arguments: list[str], console: Console, held: ExitStack) -> tuple[StageRun, str]:
    """Everything that can be wrong with the input is found here, before a run directory exists."""
    job, arguments, resumed = parse(arguments)
    torch.set_num_threads(job.execution.threads)
    with console.status("loading; the first time on a machine, kernels are compiled (20 s)"):
        compile_kernels()
        task = build_task(job, console)
        for method, search in job.searches():  # steps that the process does not have are refused here
            plan_search(task.process_for(method), task.problems, search)
        if resumed is not None:
            resumed.check_settings(job.settings())
        batch_size = job.execution.batch_size or ROWS_AT_ONCE
        executor, open_session = choose_executor(replace(job.execution, batch_size=batch_size), console)
    directory = job.out or Path("runs/stages") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    run = StageRun(job, task, directory, open_session)
    if resumed is None:
        create_run_directory(directory)
        write_json(directory / "config.json", describe(job, task, executor, arguments))
        write_questions(directory, task)
    held.enter_context(only_writer(directory, name=".run-lock"))
    refuse_complete(directory)
    if resumed is not None:
        run.answers, run.seconds = read_answers(directory), read_seconds(directory)
    return run, executor


def read_seconds(directory: Path) -> dict[str, float]:
    """What the methods took that a run has recorded."""
    summary = directory / "summary.json"
    return dict(json.loads(summary.read_text())["seconds"]) if summary.exists() else {}


def describe(job: StageJob, task: StageTask, executor: str, arguments: list[str]) -> dict[str, Any]:
    """Everything that the run follows from, resolved."""
    return {
        "search": job.settings(),
        "execution": {**asdict(job.execution), "executor": executor},
        "methods": [asdict(search) for _, search in job.searches()],
        "reward": repr(task.reward),
        "oracle": task.oracle,
        "stand_in": task.stand_in,
        "problems": [problem.name for problem in task.problems],
        "environment": describe_environment(),
        "command": shlex.join(["python", "-m", "jobs.search", *arguments]),
        "arguments": arguments,
    }


def search_and_report(run: StageRun, executor: str, console: Console, watch: Watch) -> int:
    """Run, print and write everything; returns the exit code."""
    exit_code = 0
    try:
        run.run(console, watch)
    except Interrupted as reason:
        run.notes.append(f"Stopped by {reason}. To go on: --resume {run.directory}")
        exit_code = reason.exit_code
    except (RolloutFailed, SearchFailed, CannotResume, OSError) as error:
        run.notes.append(f"Stopped: {error}")
        exit_code = 1
    finally:
        close_executor(executor)
    scores = run.write_summary(complete=exit_code == 0)
    if exit_code == 0:
        run.recording().remove_checkpoints(method.name for method in run.job.methods)
    ending = page_or_reason(run.directory) if run.job.report and scores.rows else f"run: {run.directory}"
    print_table(console, [{name: row[name] for name in _TABLE_COLUMNS} for row in scores.rows])
    for note in run.task.notes + run.notes:
        console.print(note, markup=False)
    console.print(ending, markup=False, soft_wrap=True)
    return exit_code


def run(arguments: list[str], console: Console, watch: Watch) -> int:
    """A whole run, as a command line asks for it; see ``jobs.search.run``."""
    with ExitStack() as held:
        with refusing():
            stage_run, executor = prepare(arguments, console, held)
        with watch:
            return search_and_report(stage_run, executor, console, watch)
