"""``condition``: scenarios in which a condition holds, with the probability that it does.

    found = condition("quantiles.csv", "max > 1500 and sum[day 1] = 32000 +- 500")
    found.probability, found.interval; found.scenarios(); found.quantiles([0.1, 0.5, 0.9])

The target is p(x) L(x) / P with P = E_p L(x): the reward is log L at lambda = 1, and log Z is log P.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from sadt_ray.api import sample
from sadt_ray.budget import fit_to_budget
from sadt_ray.conditioning import pilot
from sadt_ray.conditioning.scenarios import ConditionedForecast, ConditionedForecasts
from sadt_ray.conditions.marks import marks_of
from sadt_ray.conditions.parse import ParsedCondition, parse_condition
from sadt_ray.conditions.reward import ConditionReward, ConditionScorer
from sadt_ray.conditions.words import affects, describe
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.forecasts.process import ForecastProcess
from sadt_ray.forecasts.read import read_forecast
from sadt_ray.interfaces import GenerativeProcess, Problem
from sadt_ray.methods import Method
from sadt_ray.metrics.probability import binomial_interval, bound_without_hits, log_normal_interval
from sadt_ray.numerics.logspace import effective_sample_size
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.sampling import run_down, sample_prior
from sadt_ray.runs.results import ProblemSamples
from sadt_ray.session import SessionFactory
from sadt_ray.tree.errors import log_mean_se

Prior: TypeAlias = Forecast | str | Path | pd.DataFrame | tuple[GenerativeProcess, Sequence[Problem]]

DEFAULT_ROLLOUTS = 256
CHEAP_SAMPLES = 4096
"""Prior samples of each item of a forecast, whose evaluation costs next to nothing."""
DEAR_SAMPLES = 128
"""Prior samples of each problem of any other prior."""
ENOUGH = 100
"""Prior sampling is taken where so many samples satisfy the condition, or ``num_scenarios`` if that is more."""
_MOST_NUMBERS = 2**25  # of all prior samples together
_PRIOR, _PILOT = "prior", "pilot"
_OTHER_SEEDS = {_PRIOR: 1, _PILOT: 2}


def condition(
    forecast: Prior,
    given: str | ParsedCondition,
    num_scenarios: int = 200,
    *,
    method: str | Method = "auto",
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    seed: int = 0,
    session: SessionFactory | None = None,
    out: str | Path | None = None,
    progress: bool | None = None,
) -> ConditionedForecasts:
    """Scenarios of a forecast in which a condition holds, and the probability that it holds.

    Args:
        forecast: a ``Forecast``; the path of its file, or its data frame (``read_forecast``); or a pair of any prior
            and its problems, such as ``(load_pretrained("diff-k", "ETTh1"), [problem])``.
        given: the condition, such as ``"max[day 1] > 1500"``, in the units and dates of the file.
        num_scenarios: that ``scenarios`` gives unless told otherwise.
        method: ``auto`` chooses by measured weights (``conditioning.pilot``). Else ``snis`` (prior sampling), ``sadt``,
            ``tempered``, ``surrogate``, or a ``Method`` whose tickets all start at the root.
        n_rollouts: budget of the method in rollouts per item: 256 if none is given, 4,096 prior samples of a forecast.
            Prior samples and pilots of ``auto`` come on top, and are counted in ``evaluations``.
        max_nfe: budget of the method in function evaluations per item, in place of ``n_rollouts``.
        seed: every random number follows from it.
        session: where it searches, see ``sample``.
        out: a new directory for scenarios, quantiles, summary and report.
        progress: whether a progress bar is shown; in a terminal and a notebook if not given.

    Returns:
        The scenarios of each item, by its name.

    Raises:
        ConditionError: for a condition that cannot be read, or does not fit the forecast.
        BadForecast: for a file that cannot be read.
        ValueError: for input that does not fit.
    """
    if num_scenarios < 1:
        raise ValueError(f"num_scenarios must be at least 1, got {num_scenarios}")
    if n_rollouts is not None and max_nfe is not None:
        raise ValueError("give n_rollouts or max_nfe, not both")
    if out is not None and Path(out).exists() and any(Path(out).iterdir()):
        raise ValueError(f"{out} is not empty; choose another directory, or remove it")
    parsed = parse_condition(given) if isinstance(given, str) else given
    process, problems, horizon = _prior_of(forecast)
    task = _Task(process, problems, ConditionReward(parsed, horizon=horizon), num_scenarios, seed, session, progress)
    budget = _Budget(n_rollouts, max_nfe)
    _check_method(method, budget)
    found = ConditionedForecasts(task.found(method, budget))
    if out is not None:
        found.save(out)
    return found


class _Budget(NamedTuple):
    """Of the method, for each item."""

    n_rollouts: int | None
    max_nfe: int | None

    def prior_samples(self, evaluations: int, default: int) -> int:
        """What the budget pays for by samples of the prior that cost so many evaluations each."""
        if self.max_nfe is not None:
            return max(self.max_nfe // max(evaluations, 1), 1)
        return default if self.n_rollouts is None else self.n_rollouts


@dataclass
class _Drawn:
    """Prior samples of one problem, and what the condition says of them."""

    samples: np.ndarray  # [m, ...] in the units of the samples
    log_likelihood: Float[np.ndarray, " m"]
    satisfied: Bool[np.ndarray, " m"]
    shortfall: Float[np.ndarray, " m"]
    unit: str  # of the shortfall

    @property
    def hits(self) -> int:
        """Number of samples that satisfy the condition; of a soft one, the effective number, rounded."""
        likelihood = np.exp(self.log_likelihood)
        return round(float(likelihood.sum()))


class _Found(NamedTuple):
    """What a method found for one problem."""

    samples: np.ndarray
    weights: Float[np.ndarray, " n"]
    log_p: float
    interval: tuple[float, float]
    how: str
    starts: float
    method: str
    searched: int = 0  # rollouts beside the prior samples


@dataclass
class _Task:
    """One call of ``condition``."""

    process: GenerativeProcess
    problems: list[Problem]
    reward: ConditionReward
    num_scenarios: int
    seed: int
    session: SessionFactory | None
    progress: bool | None

    def __post_init__(self) -> None:
        self.scorer: ConditionScorer = self.reward.bind(self.problems)
        self.cheap = isinstance(self.process, ForecastProcess)
        self.cost_of_sample = _cost_of_sample(self.process, self.problems[0])
        self.evaluations = np.zeros(len(self.problems), np.int64)
        self.calls = np.zeros(len(self.problems), np.int64)

    def found(self, method: str | Method, budget: _Budget) -> list[ConditionedForecast]:
        """Prior samples first, then what ``method`` asks for, item by item where ``auto`` chooses."""
        every = range(len(self.problems))
        most = budget.prior_samples(self.cost_of_sample, self._num_prior() if self.cheap else DEFAULT_ROLLOUTS)
        if method == "snis":
            drawn = self.drawn(every, most, self.seed)
            return [self.assembled(k, drawn[k], self.by_prior(drawn[k]), "asked for") for k in every]
        drawn = self.drawn(every, self._num_prior(), self._seed(_PRIOR))
        if method != "auto":
            results = self.by_method(every, method, budget, drawn)
            return [self.assembled(k, drawn[k], results[k], "asked for") for k in every]
        return self._by_measurement(drawn, max(most, self._num_prior()), budget)

    def _by_measurement(self, drawn: list[_Drawn], most: int, budget: _Budget) -> list[ConditionedForecast]:
        """``auto``, see ``sadt_ray.conditioning.pilot``."""
        enough = max(ENOUGH, self.num_scenarios)
        found: dict[int, _Found] = {}
        why: dict[int, str] = {}
        often = [k for k, d in enumerate(drawn) if d.hits * most / len(d.samples) >= enough]
        for k in often:
            why[k] = f"{drawn[k].hits:,} of {len(drawn[k].samples):,} prior samples satisfy it, which is enough"
        fresh = self.drawn(often, most, self.seed) if often else []  # those that decided would be biased
        for k, samples in zip(often, fresh, strict=True):
            drawn[k], found[k] = samples, self.by_prior(samples)
        seldom = [k for k in range(len(drawn)) if k not in found]
        if seldom:
            asked = [self.problems[k] for k in seldom]
            trials = pilot.run_pilots(self.process, asked, self.reward, self._seed(_PILOT), self.session)
            chosen = [pilot.best_of(each) for each in trials]
            for place, k in enumerate(seldom):
                self.evaluations[k] += sum(trial.evaluations for trial in trials[place])
                self.calls[k] += sum(trial.reward_calls for trial in trials[place])
                why[k] = pilot.why(drawn[k].hits, len(drawn[k].samples), trials[place], chosen[place])
            for name in dict.fromkeys(trial.method for trial in chosen):
                mine = [k for k, trial in zip(seldom, chosen, strict=True) if trial.method == name]
                found |= self.by_method(mine, name, budget, drawn)
        return [self.assembled(k, drawn[k], found[k], why[k]) for k in range(len(drawn))]

    # ---- prior samples ----------------------------------------------------------------------------------------------

    def _num_prior(self) -> int:
        if not self.cheap:
            return DEAR_SAMPLES
        width = math.prod(getattr(self.process, "denoiser").sample_shape)  # noqa: B009
        return int(np.clip(_MOST_NUMBERS // (len(self.problems) * width), 512, CHEAP_SAMPLES))

    def _seed(self, use: str) -> int:
        return int(derive_seeds(self.seed, _OTHER_SEEDS[use], np.arange(1))[0] % 2**31)

    def drawn(self, which: Sequence[int], n: int, seed: int) -> list[_Drawn]:
        """n prior samples of each problem, checked with the condition."""
        drawn = sample_prior(self.process, [self.problems[k] for k in which], n, seed)
        found = []
        for k, samples in zip(which, drawn, strict=True):
            self.evaluations[k] += n * self.cost_of_sample
            self.calls[k] += n
            problem = np.full(n, k)
            log_l = self.scorer(samples, problem)
            satisfied, shortfall = self.scorer.satisfied(samples, problem), self.scorer.shortfall(samples, problem)
            nearest = shortfall.comparison[int(np.argmin(shortfall.amount))]
            found.append(_Drawn(samples, log_l, satisfied, shortfall.amount, self._unit(k, nearest)))
        return found

    def _unit(self, k: int, comparison: str) -> str:
        """Of a shortfall: that of the file, or steps of a count."""
        whole = any(each.whole for each in self.scorer.condition(k).comparisons() if each.text == comparison)
        return "steps" if whole else self.problems[k].scale.unit

    def by_prior(self, drawn: _Drawn) -> _Found:
        """Prior samples weighted by their likelihood."""
        log_l, n = drawn.log_likelihood, len(drawn.samples)
        total = float(np.exp(log_l).sum())
        if total == 0:
            return _Found(
                drawn.samples[:0], np.empty(0), -math.inf, (0.0, bound_without_hits(n)), _ONE_SIDED, 0.0, "snis"
            )
        log_p = math.log(total / n)
        if np.isin(log_l, (0.0, -np.inf)).all():
            interval, how = binomial_interval(round(total), n), f"exact binomial (Clopper-Pearson) of {n:,} samples"
        else:
            interval = log_normal_interval(log_p, log_mean_se(log_l), n - 1)
            how = f"log-normal, from the variation between {n:,} samples"
        weights = np.exp(log_l) / total
        return _Found(drawn.samples, weights, log_p, interval, how, effective_sample_size(weights), "snis")

    # ---- guided methods ---------------------------------------------------------------------------------------------

    def by_method(
        self, which: Sequence[int], method: str | Method, budget: _Budget, drawn: Sequence[_Drawn]
    ) -> dict[int, _Found]:
        """Search for some of the problems by one method, in independent systems."""
        problems = [self.problems[k] for k in which]
        chosen = self._sized(method, budget, problems[0])
        result = sample(
            self.process, problems, self.reward, chosen, flow=None, session=self.session, progress=self.progress
        )
        systems = chosen.search.n_rollouts or 1
        found = {}
        for place, k in enumerate(which):
            self.evaluations[k] += int(result.nfe[place])
            self.calls[k] += int(result.reward_calls[place])
            one = _of_systems(result[place], chosen.name, systems, drawn[k])
            found[k] = one._replace(searched=int(result.rollouts[place]))
        return found

    def _sized(self, method: str | Method, budget: _Budget, problem: Problem) -> Method:
        """The method with its budget."""
        if isinstance(method, Method):
            return method.with_seed(self.seed)
        if budget.max_nfe is None:
            return pilot.method_of(method, budget.n_rollouts or DEFAULT_ROLLOUTS, self.seed)

        def make(rollouts: int) -> Method:
            return pilot.method_of(method, rollouts, self.seed)

        return fit_to_budget(make, budget.max_nfe, self.process, problem, self.reward)

    # ---- the result -------------------------------------------------------------------------------------------------

    def assembled(self, k: int, drawn: _Drawn, found: _Found, why: str) -> ConditionedForecast:
        """What the user gets, in the units of the file."""
        problem = self.problems[k]
        samples, before = (self._in_units(each, k) for each in (found.samples, drawn.samples))
        satisfied = 0.0
        unit, nearest = drawn.unit, float(drawn.shortfall.min())
        if len(found.samples):
            which = np.full(len(found.samples), k)
            satisfied = float(found.weights @ self.scorer.satisfied(found.samples, which))
            nearest = min(nearest, float(self.scorer.shortfall(found.samples, which).amount.min()))
        shape = before.shape[1:]
        told = describe(self.reward.condition, problem, (shape[0], shape[1]))  # type: ignore[arg-type]
        result = ConditionedForecast(
            problem=problem,
            text=self.reward.text,
            words=f"{told}; {affects(drawn.satisfied, drawn.shortfall, drawn.unit)}",
            samples=samples,
            weights=found.weights,
            prior_samples=before,
            log_probability=min(found.log_p, 0.0),
            interval=found.interval,
            interval_method=found.how,
            satisfied=satisfied,
            starts=found.starts,
            evaluations=int(self.evaluations[k]),
            reward_calls=int(self.calls[k]),
            method=found.method,
            why=why,
            num_scenarios=self.num_scenarios,
            seed=self.seed,
            marks=tuple(marks_of(self.scorer.condition(k))),
        )
        remark = _remark(result, len(drawn.samples), found.searched, nearest, unit)
        return replace(result, remark=remark)

    def _in_units(self, samples: np.ndarray, k: int) -> Float[np.ndarray, "n C T"]:
        scale = self.problems[k].scale
        stacked = samples if samples.ndim == 3 else samples[:, None]
        mean, std = (np.asarray(values, float)[:, None] for values in (scale.mean, scale.std))
        return np.asarray(stacked, float) * std + mean


_ONE_SIDED = "one-sided: three over the number of independent prior samples, none of which satisfies it"


def _of_systems(drawn: ProblemSamples, name: str, systems: int, prior: _Drawn) -> _Found:
    """What independent particle systems found, with an interval from the variation between them."""
    n = len(prior.samples)
    if drawn.weightless:
        hits = prior.hits
        interval = (0.0, bound_without_hits(n)) if not hits else binomial_interval(hits, n)
        samples = drawn.samples if len(drawn.samples) else prior.samples[:0]
        return _Found(samples, np.zeros(len(samples)), -math.inf, interval, _ONE_SIDED, 0.0, name)
    starts = drawn.root_ess if math.isnan(drawn.starts) else drawn.starts
    if math.isfinite(drawn.log_z_se):
        interval = log_normal_interval(drawn.log_z, drawn.log_z_se, systems - 1)
        how = f"log-normal with Student's t, from the variation between {systems} independent systems"
    else:
        interval = (0.0, binomial_interval(min(prior.hits, n), n)[1])
        how = f"from {n:,} prior samples, since fewer than two of {systems} systems found anything"
    return _Found(drawn.samples, drawn.weights, drawn.log_z, interval, how, starts, name)


def _remark(found: ConditionedForecast, prior: int, searched: int, nearest: float, unit: str) -> str:
    """What is to be known of an answer that rests on nothing, or on little."""
    if found.probability == 0:
        also = f" and none of {searched:,} of {found.method}" if searched else ""
        bound = math.log(bound_without_hits(prior))
        missed = f"{nearest:,.3g} {unit}".strip()
        return (
            f"none of {prior:,} prior samples{also} satisfies '{found.text}'; the nearest misses by {missed}; "
            f"log P is below {bound:.1f} (95 %)"
        )
    runs = found.method in ("tempered", "surrogate")  # starts are whole runs there, of which there are few
    if found.starts < (2 if runs else pilot.FEW_STARTS):
        what = "independent runs" if runs else "independent starts"
        return f"{found.starts:.1f} {what} carry all the weight: the scenarios are much alike; raise the budget"
    return ""


def _cost_of_sample(process: GenerativeProcess, problem: Problem) -> int:
    """Function evaluations of one sample of the prior, as its chain counts them."""
    whole = process.with_branch_steps("none")
    chain, first = whole.bind([problem]), np.zeros(1, np.int64)
    path = run_down(chain, whole.num_levels, chain.root_states(), first, first, derive_seeds(0, 0, first))
    return int(path.nfe[0])


def _prior_of(forecast: Any) -> tuple[GenerativeProcess, list[Problem], int | None]:
    """Process, problems and horizon."""
    if isinstance(forecast, tuple):
        if len(forecast) != 2:
            raise ValueError(f"a pair (process, problems) is needed, got a tuple of {len(forecast)}")
        process, problems = forecast
        problems = [problems] if isinstance(problems, Problem) else list(problems)
        if not problems:
            raise ValueError("there is nothing to condition: the list of problems is empty")
        return process, problems, None
    found = forecast if isinstance(forecast, Forecast) else read_forecast(forecast)
    return found.process(), found.problems(), found.horizon


def _check_method(method: str | Method, budget: _Budget) -> None:
    if isinstance(method, str):
        if method not in ("auto", "snis"):
            pilot.method_of(method, DEFAULT_ROLLOUTS, 0)
        return
    if budget != (None, None):
        raise ValueError(f"{method.name} brings its budget; leave n_rollouts and max_nfe out")
    if method.search.inv_temperature != 1 or method.branch_steps != "none" or method.search.draw != "softmax":
        raise ValueError(
            f"{method.name} must have inv_temperature 1, branch_steps 'none' and the softmax draw, so that its "
            "estimate of the probability is unbiased; use sample with ConditionReward for others"
        )
