"""Prepare the reward of a stage: templates, a pilot and a verifier, as far as its terms need them, then the sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.pilot import Pilot, run_pilot
from sadt_ray.opentslm.questions import spread
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
from sadt_ray.opentslm.rewards.verifier_file import TEMPLATES, VERIFIER, load_verifier
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.scoring import TextScoring
from sadt_ray.rewards.combine import WeightedSum

_BY_SHARES = ("macro_f1", "kappa")  # metrics whose oracle needs the shares of the labels
_MOST_TRAINING, _MOST_RECORDS = 2_000, 200  # questions for templates; each record of stage 5 may be a download


@dataclass(frozen=True)
class PreparedReward:
    """A reward and what it is based on.

    Attributes:
        reward: the sum.
        templates: of the spectral term; None without one.
        template_accuracy: share of these questions that the nearest template classifies correctly; None without labels.
        pilot: empty unless a term compares with other rationales.
        notes: sentences that belong beside every result.
    """

    reward: WeightedSum
    templates: LabelTemplates | None = None
    template_accuracy: float | None = None
    pilot: Pilot = field(default_factory=Pilot)
    notes: list[str] = field(default_factory=list)


def prepare_reward(
    settings: StageSettings,
    process: CausalLMProcess,
    problems: Sequence[Problem],
    training: Callable[[], Sequence[Problem]],
) -> PreparedReward:
    """Prepare the terms of the reward that the settings name, and add them up.

    Args:
        process: the prior, for a pilot and for likelihoods.
        problems: the questions of the search.
        training: loads the questions of the training split.

    Raises:
        DataNotFound: if the spectral reward finds no training questions.
        ValueError: for an unknown term, a verifier of another stage, or a question that does not fit the reward.
    """
    spec, number = reward_spec(settings), settings.spec.number
    wanted, notes = needs(spec, number), list[str]()
    verifier, templates = _load_verifier(settings, wanted) if settings.verifier is not None else (None, None)
    if verifier is None and "spectral-label" in wanted:
        try:
            templates = fit_templates(number, training(), problems)
        except DataNotFound as error:
            raise DataNotFound(f"{error}\nThe spectral reward needs them; --reward format does without.") from None
    pilot = Pilot()
    if wanted & {"agreement", "consensus", "verifier"}:
        count = max(settings.n_rollouts // 2, 2) if verifier is None else int(verifier.facts["rationales"])
        pilot = run_pilot(process, problems, count, settings.seed)
        cost = np.mean(list(pilot.tokens.values()))
        notes.append(f"The pilot cost {cost:.0f} tokens per question; rewarded methods are charged for them.")
    evidence = Evidence(
        templates=templates,
        spectral_weight=settings.spectral_weight,
        marginals=pilot.marginals,
        pilot=pilot.texts,
        log_probs=TextScoring(process) if "likelihood" in wanted else None,
        verifier=verifier,
        features=_features(verifier, pilot, templates),
        label_shares=label_shares(training()) if "oracle" in wanted and settings.spec.metric in _BY_SHARES else None,
    )
    reward = build_stage_reward(spec, number, evidence)
    reward.bind(problems)  # refuses a question that does not fit
    if reward.oracle:
        notes.append("The reward reads the gold answers: ORACLE results, not deployable ones.")
    accuracy = None
    if templates is not None and all(problem.extras.get("label") is not None for problem in problems):
        found = template_accuracy(templates, problems)
        accuracy = found.accuracy
        notes.append(
            f"The templates behind the spectral reward are right for {found.accuracy:.3f} of these questions on "
            f"their own (most frequent answer: {found.majority:.3f})."
        )
    return PreparedReward(reward, templates, accuracy, pilot, notes)


def reward_spec(settings: StageSettings) -> str:
    """The reward of the settings as a sum of terms; the default one is spelled out."""
    if settings.reward != "default":
        return settings.reward
    spec = default_spec(settings.spec.number)
    return "format" if settings.spectral_weight == 0 and "spectral-label" in spec else spec


def fit_templates(stage: int, training: Sequence[Problem], problems: Sequence[Problem]) -> LabelTemplates:
    """Templates of training questions, with segments short enough for ``problems`` too."""
    some = spread(training, _MOST_RECORDS if stage == 5 else _MOST_TRAINING)
    return fit_label_templates(some, stage_templates_config(stage, [*some, *problems]), {"stage": stage})


def _features(verifier: Verifier | None, pilot: Pilot, templates: LabelTemplates | None) -> TextFeatures | None:
    """The inputs of a verifier on these questions."""
    return None if verifier is None else answer_features(pilot.marginals, templates, verifier.claims)


def _load_verifier(settings: StageSettings, wanted: Set[str]) -> tuple[Verifier, LabelTemplates]:
    """A verifier and its templates. Raises ValueError if it is of another stage, or the reward does not name it."""
    assert settings.verifier is not None
    verifier = load_verifier(settings.verifier / VERIFIER)
    made_for = verifier.facts.get("stage", settings.spec.number)
    if made_for != settings.spec.number:
        raise ValueError(
            f"the verifier {settings.verifier} is of stage {made_for}, not of stage {settings.spec.number}"
        )
    if "verifier" not in wanted:
        raise ValueError(
            f"--verifier {settings.verifier} is given, but the reward {reward_spec(settings)!r} does not name it; "
            "write --reward 'verifier + -1*agreement', or leave --verifier out"
        )
    return verifier, load_templates(settings.verifier / TEMPLATES)
