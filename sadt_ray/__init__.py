"""Sample from a frozen time-series prior and a black-box reward at once: p(x_0) exp(lambda r(x_0)) / Z.

The names below are imported on first use, so that ``sadt_ray.tree`` can be used where torch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadt_ray.api import LearnedFlow, compare, learn, resume, sample, search
    from sadt_ray.comparison import Comparison
    from sadt_ray.conditioning.condition import condition
    from sadt_ray.conditioning.scenarios import ConditionedForecast, ConditionedForecasts
    from sadt_ray.conditions.parse import ParsedCondition, parse_condition
    from sadt_ray.conditions.reward import ConditionReward
    from sadt_ray.conditions.syntax import ConditionError
    from sadt_ray.config import Children, NodeCounts, SearchConfig, SelectionRule, WideningRule
    from sadt_ray.data.etth1 import load_csv, load_etth1
    from sadt_ray.data.synthetic import synthetic_hourly
    from sadt_ray.data.windows import SeriesDataset
    from sadt_ray.engine.loop import Observer, RolloutFailed, SearchStats
    from sadt_ray.flow.flow import Flow
    from sadt_ray.flow.shipped import shipped_flow
    from sadt_ray.forecasting import ForecastSettings, default_reward
    from sadt_ray.forecasts.forecast import Forecast
    from sadt_ray.forecasts.process import ForecastProcess
    from sadt_ray.forecasts.read import read_forecast
    from sadt_ray.interfaces import Chain, GenerativeProcess, Problem, Reward, Scale, Scorer, TimeAxis
    from sadt_ray.methods import (
        Method,
        best_of_n,
        dps,
        dts,
        dts_late,
        dts_star,
        fk,
        method_named,
        prior,
        sadt,
        sadt_tree,
        smc_debiased,
        snis,
        surrogate,
        sweep,
        tds,
        tempered,
    )
    from sadt_ray.processes.joint import JointProcess, joint_problem
    from sadt_ray.processes.pretrained import load_pretrained, load_prior
    from sadt_ray.processes.sampling import sample_prior
    from sadt_ray.rewards.combine import WeightedSum
    from sadt_ray.rewards.copula import CopulaReward, with_prior_samples
    from sadt_ray.rewards.coupling import fit_coupling
    from sadt_ray.rewards.function import FunctionReward
    from sadt_ray.rewards.limit import LimitReward
    from sadt_ray.rewards.opinions import fit_opinions
    from sadt_ray.rewards.second_opinion import SecondOpinionReward, with_second_opinions
    from sadt_ray.rewards.spectral import SpectralReward
    from sadt_ray.runs.read import Run, read_run, read_runs
    from sadt_ray.runs.results import ProblemSamples, SampleResult
    from sadt_ray.session import Session, SessionFactory, serial_session
    from sadt_ray.smc.config import Scheme, SMCConfig, TwistFactory
    from sadt_ray.training.fit import FlowFit, learn_flow
    from sadt_ray.training.flow import FlowSettings, train_flow
    from sadt_ray.training.prior import PriorSettings, train_prior
    from sadt_ray.tree.samples import WeightedSamples
    from sadt_ray.tree.search import Search

_HOME = {
    "Chain": "sadt_ray.interfaces",
    "Children": "sadt_ray.config",
    "Comparison": "sadt_ray.comparison",
    "ConditionError": "sadt_ray.conditions.syntax",
    "ConditionReward": "sadt_ray.conditions.reward",
    "ConditionedForecast": "sadt_ray.conditioning.scenarios",
    "ConditionedForecasts": "sadt_ray.conditioning.scenarios",
    "CopulaReward": "sadt_ray.rewards.copula",
    "Flow": "sadt_ray.flow.flow",
    "FlowFit": "sadt_ray.training.fit",
    "FlowSettings": "sadt_ray.training.flow",
    "Forecast": "sadt_ray.forecasts.forecast",
    "ForecastProcess": "sadt_ray.forecasts.process",
    "ForecastSettings": "sadt_ray.forecasting",
    "FunctionReward": "sadt_ray.rewards.function",
    "GenerativeProcess": "sadt_ray.interfaces",
    "JointProcess": "sadt_ray.processes.joint",
    "LearnedFlow": "sadt_ray.api",
    "LimitReward": "sadt_ray.rewards.limit",
    "Method": "sadt_ray.methods",
    "NodeCounts": "sadt_ray.config",
    "Observer": "sadt_ray.engine.loop",
    "ParsedCondition": "sadt_ray.conditions.parse",
    "PriorSettings": "sadt_ray.training.prior",
    "Problem": "sadt_ray.interfaces",
    "ProblemSamples": "sadt_ray.runs.results",
    "Reward": "sadt_ray.interfaces",
    "RolloutFailed": "sadt_ray.engine.loop",
    "Run": "sadt_ray.runs.read",
    "SMCConfig": "sadt_ray.smc.config",
    "SampleResult": "sadt_ray.runs.results",
    "Scale": "sadt_ray.interfaces",
    "Scheme": "sadt_ray.smc.config",
    "Scorer": "sadt_ray.interfaces",
    "Search": "sadt_ray.tree.search",
    "SearchConfig": "sadt_ray.config",
    "SearchStats": "sadt_ray.engine.loop",
    "SecondOpinionReward": "sadt_ray.rewards.second_opinion",
    "SelectionRule": "sadt_ray.config",
    "SeriesDataset": "sadt_ray.data.windows",
    "Session": "sadt_ray.session",
    "SessionFactory": "sadt_ray.session",
    "SpectralReward": "sadt_ray.rewards.spectral",
    "TimeAxis": "sadt_ray.interfaces",
    "TwistFactory": "sadt_ray.smc.config",
    "WeightedSamples": "sadt_ray.tree.samples",
    "WeightedSum": "sadt_ray.rewards.combine",
    "WideningRule": "sadt_ray.config",
    "best_of_n": "sadt_ray.methods",
    "compare": "sadt_ray.api",
    "condition": "sadt_ray.conditioning.condition",
    "default_reward": "sadt_ray.forecasting",
    "dps": "sadt_ray.methods",
    "dts": "sadt_ray.methods",
    "dts_late": "sadt_ray.methods",
    "dts_star": "sadt_ray.methods",
    "fit_coupling": "sadt_ray.rewards.coupling",
    "fit_opinions": "sadt_ray.rewards.opinions",
    "fk": "sadt_ray.methods",
    "joint_problem": "sadt_ray.processes.joint",
    "learn": "sadt_ray.api",
    "learn_flow": "sadt_ray.training.fit",
    "load_csv": "sadt_ray.data.etth1",
    "load_etth1": "sadt_ray.data.etth1",
    "load_pretrained": "sadt_ray.processes.pretrained",
    "load_prior": "sadt_ray.processes.pretrained",
    "method_named": "sadt_ray.methods",
    "parse_condition": "sadt_ray.conditions.parse",
    "prior": "sadt_ray.methods",
    "read_forecast": "sadt_ray.forecasts.read",
    "read_run": "sadt_ray.runs.read",
    "read_runs": "sadt_ray.runs.read",
    "resume": "sadt_ray.api",
    "sadt": "sadt_ray.methods",
    "sadt_tree": "sadt_ray.methods",
    "sample": "sadt_ray.api",
    "sample_prior": "sadt_ray.processes.sampling",
    "search": "sadt_ray.api",
    "serial_session": "sadt_ray.session",
    "shipped_flow": "sadt_ray.flow.shipped",
    "smc_debiased": "sadt_ray.methods",
    "snis": "sadt_ray.methods",
    "surrogate": "sadt_ray.methods",
    "sweep": "sadt_ray.methods",
    "synthetic_hourly": "sadt_ray.data.synthetic",
    "tds": "sadt_ray.methods",
    "tempered": "sadt_ray.methods",
    "train_flow": "sadt_ray.training.flow",
    "train_prior": "sadt_ray.training.prior",
    "with_prior_samples": "sadt_ray.rewards.copula",
    "with_second_opinions": "sadt_ray.rewards.second_opinion",
}

__all__ = [
    "Chain",
    "Children",
    "Comparison",
    "ConditionError",
    "ConditionReward",
    "ConditionedForecast",
    "ConditionedForecasts",
    "CopulaReward",
    "Flow",
    "FlowFit",
    "FlowSettings",
    "Forecast",
    "ForecastProcess",
    "ForecastSettings",
    "FunctionReward",
    "GenerativeProcess",
    "JointProcess",
    "LearnedFlow",
    "LimitReward",
    "Method",
    "NodeCounts",
    "Observer",
    "ParsedCondition",
    "PriorSettings",
    "Problem",
    "ProblemSamples",
    "Reward",
    "RolloutFailed",
    "Run",
    "SMCConfig",
    "SampleResult",
    "Scale",
    "Scheme",
    "Scorer",
    "Search",
    "SearchConfig",
    "SearchStats",
    "SecondOpinionReward",
    "SelectionRule",
    "SeriesDataset",
    "Session",
    "SessionFactory",
    "SpectralReward",
    "TimeAxis",
    "TwistFactory",
    "WeightedSamples",
    "WeightedSum",
    "WideningRule",
    "best_of_n",
    "compare",
    "condition",
    "default_reward",
    "dps",
    "dts",
    "dts_late",
    "dts_star",
    "fit_coupling",
    "fit_opinions",
    "fk",
    "joint_problem",
    "learn",
    "learn_flow",
    "load_csv",
    "load_etth1",
    "load_pretrained",
    "load_prior",
    "method_named",
    "parse_condition",
    "prior",
    "read_forecast",
    "read_run",
    "read_runs",
    "resume",
    "sadt",
    "sadt_tree",
    "sample",
    "sample_prior",
    "search",
    "serial_session",
    "shipped_flow",
    "smc_debiased",
    "snis",
    "surrogate",
    "sweep",
    "synthetic_hourly",
    "tds",
    "tempered",
    "train_flow",
    "train_prior",
    "with_prior_samples",
    "with_second_opinions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sadt_ray' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
