"""From flags to objects: the model, the questions and the reward of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from jobs.execution import check_device
from jobs.stages.job import StageJob
from jobs.stages.methods import StageMethod
from jobs.stages.pilot import Pilot, run_pilot
from jobs.stages.questions import check_stage, questions, spread, stand_in
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.rewards.answer_verifier import answer_features
from sadt_ray.opentslm.rewards.build import Evidence, build_stage_reward, default_spec, needs
from sadt_ray.opentslm.rewards.features import TextFeatures
from sadt_ray.opentslm.rewards.oracle import label_shares
from sadt_ray.opentslm.rewards.templates import (
    LabelTemplates,
    fit_label_templates,
    load_templates,
    stage_templates_config,
    template_accuracy,
)
from sadt_ray.opentslm.rewards.verifier import Verifier
from sadt_ray.opentslm.rewards.verifier_file import load_verifier
from sadt_ray.opentslm.stand_in.library import WHAT, stand_in_record
from sadt_ray.opentslm.tree_texts import write_tree_texts
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.entropy import entropy_profile
from sadt_ray.processes.language.process import CausalLMProcess, Loader
from sadt_ray.processes.language.scoring import TextScoring
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.tree.search import Search

VERIFIER, TEMPLATES = "verifier.safetensors", "templates.safetensors"
"""Files of a verifier's directory."""
_BY_SHARES = ("macro_f1", "kappa")  # metrics whose oracle needs the labels' shares
_TEXTS_OF = 8  # questions whose trees are shown
_PROFILED = 16  # questions
_MOST_TRAINING, _MOST_RECORDS = 2_000, 200  # questions that templates are fitted on; each of stage 5 may be fetched


@dataclass
class StageTask:
    """A stage, ready to be asked.

    Attributes:
        process: the prior, its answers enumerated.
        problems: the questions.
        reward: of the methods that have one.
        templates: behind the spectral reward, if it is part of it.
        template_accuracy: of the nearest template as a classifier, on these questions; None without labels.
        stand_in: whether the model is one.
        notes: sentences that belong beside every result.
    """

    process: CausalLMProcess
    problems: list[Problem]
    reward: WeightedSum
    stand_in: bool
    templates: LabelTemplates | None = None
    template_accuracy: float | None = None
    pilot: Pilot = field(default_factory=Pilot)
    entropy_profile: list[dict[str, float]] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def oracle(self) -> bool:
        return self.reward.oracle

    def process_for(self, method: StageMethod) -> CausalLMProcess:
        """The prior as a method asks it."""
        process = self.process.with_answers("enumerated" if method.enumerated else "sampled")
        return process.with_law(sampling_temperature=0.0) if method.greedy else process

    def set_reward(self, job: StageJob, training: Callable[[], Sequence[Problem]]) -> None:
        """Prepare what the job's reward goes by, and build it."""
        spec, number = reward_spec(job), job.spec.number
        wanted = needs(spec, number)
        verifier = None
        if job.verifier is not None:
            verifier, self.templates = load_verifier(job.verifier / VERIFIER), load_templates(job.verifier / TEMPLATES)
            _check_verifier(job, verifier, wanted)
        elif "spectral-label" in wanted:
            try:
                self.templates = fit_templates(number, training(), self.problems)
            except DataNotFound as error:
                raise DataNotFound(f"{error}\nThe spectral reward needs them; --reward format does without.") from None
        if wanted & {"agreement", "consensus", "verifier"}:
            count = max(job.n_rollouts // 2, 2) if verifier is None else int(verifier.facts["rationales"])
            self.pilot = run_pilot(self.process, self.problems, count, job.seed)
            cost = np.mean(list(self.pilot.tokens.values()))
            self.notes.append(f"The pilot cost {cost:.0f} tokens a question; they are charged to rewarded methods.")
        evidence = Evidence(
            templates=self.templates,
            spectral_weight=job.spectral_weight,
            marginals=self.pilot.marginals,
            pilot=self.pilot.texts,
            log_probs=TextScoring(self.process) if "likelihood" in wanted else None,
            verifier=verifier,
            features=verifier_features(verifier, self.pilot, self.templates),
            label_shares=label_shares(training()) if "oracle" in wanted and job.spec.metric in _BY_SHARES else None,
        )
        self.reward = build_stage_reward(spec, number, evidence)
        self.reward.bind(self.problems)  # a question that does not fit the reward is refused here
        self._say_what_the_reward_goes_by()

    def _say_what_the_reward_goes_by(self) -> None:
        if self.oracle:
            self.notes.append("The reward reads the gold answers: ORACLE results, not deployable ones.")
        if self.templates is not None and all(problem.extras.get("label") is not None for problem in self.problems):
            found = template_accuracy(self.templates, self.problems)
            self.template_accuracy = found.accuracy
            self.notes.append(
                f"The templates behind the spectral reward are right for {found.accuracy:.3f} of these questions on "
                f"their own (most frequent answer: {found.majority:.3f})."
            )

    def write_tree_texts(self, run: Path, method: StageMethod, search: Search) -> None:
        """``tree/METHOD-texts.parquet``: what the text says at every node of the first few questions."""
        node = np.flatnonzero(search.problem_of_nodes() < _TEXTS_OF)
        problem = search.problem_of_nodes()[node]
        chain = self.process_for(method).bind(self.problems[:_TEXTS_OF])
        texts = chain.decode(search.states.values[node], problem).tolist()
        write_tree_texts(run, method.name, search, self.problems, node, texts)

    def reward_for(self, method: StageMethod) -> WeightedSum:
        """Nothing for methods whose target is the prior itself."""
        return self.reward if method.rewarded else WeightedSum()


def _check_verifier(job: StageJob, verifier: Verifier, wanted: Set[str]) -> None:
    """Raises ValueError for a verifier of another stage, or one that the reward does not name."""
    made_for = verifier.facts.get("stage", job.spec.number)
    if made_for != job.spec.number:
        raise ValueError(f"the verifier {job.verifier} is of stage {made_for}, not of stage {job.spec.number}")
    if "verifier" not in wanted:
        raise ValueError(
            f"--verifier {job.verifier} is given, but the reward {reward_spec(job)!r} does not name it; write --reward "
            "'verifier + -1*agreement', or leave --verifier out"
        )


def verifier_features(verifier: Verifier | None, pilot: Pilot, templates: LabelTemplates | None) -> TextFeatures | None:
    """What a verifier goes by on these questions."""
    return None if verifier is None else answer_features(pilot.marginals, templates, verifier.claims)


def fit_templates(stage: int, training: Sequence[Problem], problems: Sequence[Problem]) -> LabelTemplates:
    """Of training questions, in segments that the ``problems`` have room for too."""
    some = spread(training, _MOST_RECORDS if stage == 5 else _MOST_TRAINING)
    return fit_label_templates(some, stage_templates_config(stage, [*some, *problems]), {"stage": stage})


def reward_spec(job: StageJob) -> str:
    """The sum that the job's reward is, the default one spelled out."""
    if job.reward != "default":
        return job.reward
    spec = default_spec(job.spec.number)
    return "format" if job.spectral_weight == 0 and "spectral-label" in spec else spec


def build_task(job: StageJob, console: Console) -> StageTask:
    """Find the model, choose the questions, prepare what the reward goes by.

    Raises:
        ValueError, OSError: for whatever of this cannot be had, with the way out.
    """
    checkpoint = job.checkpoint if job.checkpoint is not None else stand_in(job, console)
    trained_as = stand_in_record(checkpoint)
    is_stand_in = trained_as is not None
    if trained_as is not None:
        check_stage(job, trained_as, checkpoint)
    chosen = questions(job, trained_as)
    process = _process(job, checkpoint)
    process.bind(chosen.asked)  # a model that cannot be loaded is refused here
    notes = [note for note in (WHAT if is_stand_in else "", chosen.note) if note]
    task = StageTask(process, chosen.asked, WeightedSum(), is_stand_in, notes=notes)
    task.set_reward(job, chosen.training)
    if job.entropy_profile:
        task.entropy_profile = profiled(process, chosen.asked[:_PROFILED])
    return task


def profiled(process: CausalLMProcess, problems: Sequence[Problem]) -> list[dict[str, float]]:
    """H(answer | text so far), step by step: where the entropy falls is where a tree has something to choose."""
    found = entropy_profile(process, problems)
    return [
        {"depth": float(step), "entropy": float(entropy), "disagreement": float(apart)}
        for step, entropy, apart in zip(found.steps, found.entropy, found.disagreement, strict=True)
    ]


def _process(job: StageJob, checkpoint: str | Path) -> CausalLMProcess:
    """The prior, where this process is to evaluate it: one model for the pilot and all methods that are asked here."""
    device = job.execution.device if job.execution.executor == "serial" else "cpu"
    check_device(device)
    arguments = {
        "source": str(checkpoint),
        "revision": job.revision,
        "base": job.base,
        "dtype": getattr(torch, job.dtype),
        "compile": job.compile,
    }
    return CausalLMProcess(
        Loader(load_opentslm, arguments),
        max_tokens=job.max_tokens or job.spec.max_tokens,
        blocks=Blocks(job.blocks, job.block_tokens, job.num_blocks),
        sampling_temperature=job.sampling_temperature,
        top_k=job.top_k,
        top_p=job.top_p,
        device=device,
    )
