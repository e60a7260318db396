"""The flow of a run: one that was trained before, one that is learned beside the search, both, or neither."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.execution import FlowSource
from jobs.search_job import SearchJob
from sadt_ray.flow.buffer.following import trajectory_directories
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import FLOW, LearnerConfig, LearnerSpec
from sadt_ray.flow.shipped import shipped_flow
from sadt_ray.flow.store import context_of
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.flow.weight_source import LearnerUpdate
from sadt_ray.interfaces import GenerativeProcess, Problem
from sadt_ray.methods import Method
from sadt_ray.processes.fingerprint import prior_fingerprint

_BELOW, _ABOVE = 10.0, 1.6  # lambdas about that of the search, over and under which the flow is trained


def given_flow(job: SearchJob, reward: str) -> Flow | None:
    """The flow that searches begin with: the given one, or the one that ships for this prior and reward, if any.

    Args:
        reward: as ``config.json`` of a run names it.

    Raises:
        ValueError: for a flow of another reward or lambda, or a file that is none.
        OSError: for a flow that is not there.
    """
    if job.flow is None:
        shipped = job.checkpoint is None and job.dataset in (None, "ETTh1") and job.data_file is None and not job.learn
        return shipped_flow("ETTh1", reward, job.resolved_inv_temperature()) if shipped else None
    flow = Flow.load(job.flow)
    flow.check(job.resolved_inv_temperature())
    theirs = (flow.facts or {}).get("reward", reward)
    if theirs != reward:
        raise ValueError(f"{job.flow} was trained for the reward {theirs}, this search is for {reward}; train another")
    return flow


def flow_notes(
    job: SearchJob, methods: Sequence[Method], flow: Flow | None, process: GenerativeProcess | None = None
) -> list[str]:
    """Where the look-ahead of methods that read a flow comes from, and whether it was learned for this prior."""
    readers = ", ".join(method.name for method in methods if method.smc.twist == "flow")
    if not readers:
        return []
    if flow is None:
        return [f"{readers}: no flow yet, looks ahead by the reward's own r~ where it has one."]
    which = f"the flow {job.flow}" if job.flow is not None else "the flow that ships with the package"
    guided = f"{readers}: guided by {which}, learned on other windows; what that cost is not in the table."
    if process is None or not _of_another_prior(job, flow, process):
        return [guided]
    return [
        guided,
        f"ATTENTION: {which} was learned for another prior. Weights make up for it, but it may guide badly; train one "
        "for this prior by `python -m jobs.train flow`.",
    ]


def _of_another_prior(job: SearchJob, flow: Flow, process: GenerativeProcess) -> bool:
    """By the fingerprint of the weights; of a flow that has none, by the names of prior and checkpoint."""
    facts, ours = flow.facts or {}, prior_fingerprint(process)
    if ours and facts.get("prior"):
        return facts["prior"] != ours
    return facts.get("process", "") not in ("", process_facts(job, process))


def process_facts(job: SearchJob, process: GenerativeProcess) -> str:
    """Names and sampler of the prior that a job searches, for the facts of a flow."""
    sampler = getattr(process, "sampler", None)
    return json.dumps(
        [job.backbone, str(job.checkpoint or "shipped"), asdict(sampler) if sampler is not None else None]
    )


def flow_source_of(
    job: SearchJob,
    methods: Sequence[Method],
    problems: Sequence[Problem],
    reward: str,
    run: Path,
    flow: Flow | None = None,
) -> FlowSource:
    """What the flags ask for.

    Args:
        reward: as ``config.json`` of a run names it.
        flow: ``given_flow``.

    Raises ValueError for a flow or learning that would be of no use, or learning that could not begin.
    """
    if (job.flow is not None or job.learn) and all(method.smc.twist != "flow" for method in methods):
        raise ValueError("no method reads a flow; name sweep, sadt or sadt-tree, or leave --flow and --learn out")
    if job.buffer_path and not job.learn:
        raise ValueError("--buffer-path is what a learner reads; add --learn, or use `python -m jobs.train flow`")
    lam = job.resolved_inv_temperature()
    if not job.learn:
        return FlowSource(flow)
    if not job.trajectories:
        raise ValueError("a learner follows the trajectories of the search; leave --no-trajectories out")
    if len({context_of(problem.name) for problem in problems}) < 2:
        raise ValueError("a learner holds some windows out to judge itself by; give it two windows or more")
    for path in job.buffer_path:
        _check_buffer(path, reward)
    settings = TrainingConfig(
        schedule="constant", validate_every=100, min_inv_temperature=lam / _BELOW, max_inv_temperature=lam * _ABOVE
    )
    home, paths = run.absolute(), [path.expanduser().absolute() for path in job.buffer_path]
    cpus = job.execution.learner_cpus
    return FlowSource(flow, LearnerSpec(home, [home / "trajectories", *paths], LearnerConfig(settings), cpus=cpus))


def _check_buffer(path: Path, reward: str) -> None:
    """Raises ValueError for a path without trajectories, or with those of searches for another reward."""
    directories = trajectory_directories(path)
    if not directories:
        raise ValueError(f"{path} holds no trajectories; `python -m jobs.search --harvest --out RUN` writes some")
    for directory in directories:
        config = directory.parent.parent / "config.json"
        theirs = json.loads(config.read_text())["search"]["reward"] if config.exists() else reward
        if theirs != reward:
            raise ValueError(f"{directory} is of searches for {theirs}, this one is for {reward}")


def learned_facts(update: LearnerUpdate | None) -> dict[str, Any]:
    """For ``summary.json``."""
    return {} if update is None else {name.removeprefix("learner_"): value for name, value in update.figures.items()}


def describe_update(update: LearnerUpdate | None, run: Path) -> str:
    """What the learner came to, in a sentence or two."""
    if update is None:
        return "The learner did not answer at the end; what it last wrote is in the run directory."
    error = f" It stopped at an error: {update.error}" if update.error else ""
    steps, rows = update.figures.get("learner_steps", 0), update.figures.get("learner_rows", 0)
    if not steps:
        return f"The learner found too little to learn from: {rows:,.0f} states.{error}"
    judged = _judgement(update.figures)
    cost = f"It cost {update.figures.get('learner_nfe', 0):,.0f} evaluations that are not in the table."
    if update.flow is None:
        out = "No version was better on the windows held out than what it began with, so none was used"
    else:
        out = f"Version {update.flow.version} of the flow is in {run / FLOW}"
    return f"{out}: {steps:,.0f} steps on {rows:,.0f} states{judged}. {cost}{error}"


def _judgement(figures: Mapping[str, float]) -> str:
    if "learner_validation" not in figures:
        return ""
    return f", held-out loss {figures['learner_validation']:.3f}, {figures['learner_base']:.3f} of the look-ahead alone"
