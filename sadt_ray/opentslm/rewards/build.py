"""Build the reward of a stage from a sum of names, as written on the command line.

``format``, ``spectral-label``, ``agreement``, ``consensus``, ``claims``, ``likelihood``, ``verifier``, ``none``,
``oracle`` and ``oracle:accuracy|f1|kappa|rouge-l|bleu``, ``module:function``, and weighted sums such as
``"format + 2*spectral-label + verifier"`` (a plus between spaces).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sadt_ray.interfaces import Reward
from sadt_ray.opentslm.rewards.agreement import AgreementReward, Marginal
from sadt_ray.opentslm.rewards.claims import ClaimsReward
from sadt_ray.opentslm.rewards.consensus import ConsensusReward
from sadt_ray.opentslm.rewards.cross_fit import CrossFitted
from sadt_ray.opentslm.rewards.features import TextFeatures
from sadt_ray.opentslm.rewards.format import FormatReward
from sadt_ray.opentslm.rewards.likelihood import LikelihoodReward, TextLogProbs
from sadt_ray.opentslm.rewards.oracle import OVERLAPS, OracleAccuracy, OracleF1, OracleKappa, OracleOverlap
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import LabelTemplates
from sadt_ray.opentslm.rewards.verifier import Verifier, VerifierReward
from sadt_ray.opentslm.stage_spec import StageSpec, stage_spec
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rewards.parse import parse_sum

HELP = (
    "a sum such as 'format + 2*spectral-label' of: format (excludes texts that claim no answer; format:-5 only "
    "penalises them; added unless named, or the reward is none), spectral-label (is the series like those with the "
    "claimed label?), agreement (with the answers of a pilot), likelihood, verifier, none, module:function; for "
    "captions claims (are they true?) and consensus (with the captions of a pilot); oracle, or oracle:accuracy, f1, "
    "kappa, rouge-l, bleu, or oracle:module:function, which read the gold answer and give no deployable result"
)
ORACLES = {"accuracy": "accuracy", "macro_f1": "f1", "kappa": "kappa", "rouge_l": "rouge-l"}
_NOTHING = WeightedSum()
T = TypeVar("T")


@dataclass(frozen=True)
class Evidence:
    """What rewards of texts are based on. Each term needs its own part only.

    Attributes:
        templates: templates of the training split, for spectral-label.
        spectral_weight: weight of spectral-label.
        marginals: answer marginals of a pilot by problem name, for agreement.
        pilot: texts and log-weights of a pilot by problem name, for consensus.
        log_probs: log-likelihoods of a language model, for likelihood.
        verifier, features: a trained verifier and its inputs on these problems.
        label_shares: shares of the labels in the training split, for oracle:f1 and oracle:kappa.
    """

    templates: LabelTemplates | CrossFitted[LabelTemplates] | None = None
    spectral_weight: float = 1.0
    marginals: Mapping[str, Marginal] | None = None
    pilot: Mapping[str, tuple[Sequence[str], Sequence[float]]] | None = None
    log_probs: TextLogProbs | None = None
    verifier: Verifier | None = None
    features: TextFeatures | None = None
    label_shares: Mapping[str, float] | None = None


def default_spec(stage: int | str) -> str:
    """The default reward of a stage: label-free, and without a pilot."""
    return "format + claims" if stage_spec(stage).metric == "rouge_l" else "format + spectral-label"


def build_stage_reward(spec: str, stage: int | str, evidence: Evidence | None = None) -> WeightedSum:
    """Build the sum that ``spec`` names; ``default`` is ``default_spec``.

    A format term is added to any sum but ``none`` if it has none, so that an unreadable text cannot win.

    Raises:
        ValueError: naming a term that is unknown or lacks what it needs.
    """
    asked, evidence = stage_spec(stage), evidence or Evidence()
    spec = default_spec(stage) if spec == "default" else spec
    terms = list(parse_sum(spec, lambda term: _reward(term, asked, evidence)))
    terms = [(weight, reward) for weight, reward in terms if reward != _NOTHING]
    named = any(isinstance(reward, FormatReward) for _, reward in terms)
    return WeightedSum(*terms) if named or not terms else WeightedSum((1.0, FormatReward()), *terms)


def needs(spec: str, stage: int | str) -> frozenset[str]:
    """Names of the terms of a sum, such as ``{"format", "spectral-label"}``, to prepare what they need."""
    found: list[str] = []

    def note(term: str) -> Reward:
        found.append(term.partition(":")[0].replace("_", "-"))
        return _NOTHING

    parse_sum(default_spec(stage) if spec == "default" else spec, note)
    return frozenset(found)


def _reward(term: str, stage: StageSpec, evidence: Evidence) -> Reward:
    name, separator, rest = term.partition(":")
    plain = name.replace("_", "-")
    if plain == "format":
        return FormatReward(_number(rest, term)) if separator else FormatReward()
    if plain == "oracle":
        return _oracle(rest or ORACLES[stage.metric], stage, evidence)
    if plain in _NAMED and not separator:
        return _NAMED[plain](evidence)
    if separator:
        return FunctionReward(term)
    raise ValueError(f"unknown reward {term!r}; write {HELP}")


def _oracle(name: str, stage: StageSpec, evidence: Evidence) -> Reward:
    if name in OVERLAPS:
        return OracleOverlap(name)
    if name == "accuracy":
        return OracleAccuracy()
    if name in ("f1", "kappa"):
        shares = _given(evidence.label_shares, f"oracle:{name}", "label shares of the training split")
        return OracleF1(shares) if name == "f1" else OracleKappa(shares)
    if ":" in name:
        return FunctionReward(name, oracle=True)
    known = ", ".join(("accuracy", "f1", "kappa", *OVERLAPS))
    raise ValueError(f"unknown oracle {name!r} for stage {stage.number}; choose one of {known}, or module:function")


def _spectral(evidence: Evidence) -> Reward:
    if evidence.templates is None:
        raise _missing("spectral-label", "templates fitted on labelled training questions")
    return SpectralLabelReward(evidence.templates, evidence.spectral_weight)


def _verifier(evidence: Evidence) -> Reward:
    learned = _given(evidence.verifier, "verifier", "a verifier trained on the training split")
    return VerifierReward(learned, _given(evidence.features, "verifier", "features of these questions"))


_NAMED: dict[str, Callable[[Evidence], Reward]] = {
    "none": lambda evidence: _NOTHING,
    "spectral-label": _spectral,
    "agreement": lambda e: AgreementReward(_given(e.marginals, "agreement", "a pilot's answer marginals")),
    "consensus": lambda e: ConsensusReward(_given(e.pilot, "consensus", "a pilot's captions")),
    "claims": lambda evidence: ClaimsReward(),
    "likelihood": lambda e: LikelihoodReward(_given(e.log_probs, "likelihood", "a language model")),
    "verifier": _verifier,
}


def _given(value: T | None, term: str, what: str) -> T:
    if value is None:
        raise _missing(term, what)
    return value


def _missing(term: str, what: str) -> ValueError:
    return ValueError(f"the reward {term} needs {what}, and there is none")


def _number(text: str, term: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"format takes a number below 0, as in format:-5; got {term!r}") from None
