"""Sample from a frozen time-series prior and a black-box reward at once: p(x_0) exp(lambda r(x_0)) / Z.

The names below are imported on first use, so that ``sadt_ray.tree`` can be used where torch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadt_ray.api import sample, search
    from sadt_ray.config import Children, NodeCounts, SearchConfig, SelectionRule, WideningRule
    from sadt_ray.data.etth1 import load_csv, load_etth1
    from sadt_ray.engine.loop import RolloutFailed
    from sadt_ray.flow.flow import Flow
    from sadt_ray.interfaces import Problem
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
        tds,
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
    from sadt_ray.smc.config import Scheme, TwistFactory
    from sadt_ray.tree.samples import WeightedSamples
    from sadt_ray.tree.search import Search

_HOME = {
    "Children": "sadt_ray.config",
    "CopulaReward": "sadt_ray.rewards.copula",
    "Flow": "sadt_ray.flow.flow",
    "FunctionReward": "sadt_ray.rewards.function",
    "JointProcess": "sadt_ray.processes.joint",
    "LimitReward": "sadt_ray.rewards.limit",
    "Method": "sadt_ray.methods",
    "NodeCounts": "sadt_ray.config",
    "Problem": "sadt_ray.interfaces",
    "RolloutFailed": "sadt_ray.engine.executor",
    "Scheme": "sadt_ray.smc.config",
    "Search": "sadt_ray.tree.search",
    "SearchConfig": "sadt_ray.config",
    "SecondOpinionReward": "sadt_ray.rewards.second_opinion",
    "SelectionRule": "sadt_ray.config",
    "SpectralReward": "sadt_ray.rewards.spectral",
    "TwistFactory": "sadt_ray.smc.config",
    "WeightedSamples": "sadt_ray.tree.samples",
    "WeightedSum": "sadt_ray.rewards.combine",
    "WideningRule": "sadt_ray.config",
    "best_of_n": "sadt_ray.methods",
    "dps": "sadt_ray.methods",
    "dts": "sadt_ray.methods",
    "dts_late": "sadt_ray.methods",
    "dts_star": "sadt_ray.methods",
    "fit_coupling": "sadt_ray.rewards.coupling",
    "fit_opinions": "sadt_ray.rewards.opinions",
    "fk": "sadt_ray.methods",
    "joint_problem": "sadt_ray.processes.joint",
    "load_csv": "sadt_ray.data.etth1",
    "load_etth1": "sadt_ray.data.etth1",
    "load_pretrained": "sadt_ray.processes.pretrained",
    "load_prior": "sadt_ray.processes.pretrained",
    "method_named": "sadt_ray.methods",
    "prior": "sadt_ray.methods",
    "sadt": "sadt_ray.methods",
    "sadt_tree": "sadt_ray.methods",
    "sample": "sadt_ray.api",
    "sample_prior": "sadt_ray.processes.sampling",
    "search": "sadt_ray.api",
    "smc_debiased": "sadt_ray.methods",
    "snis": "sadt_ray.methods",
    "tds": "sadt_ray.methods",
    "with_prior_samples": "sadt_ray.rewards.copula",
    "with_second_opinions": "sadt_ray.rewards.second_opinion",
}

__all__ = [
    "Children",
    "CopulaReward",
    "Flow",
    "FunctionReward",
    "JointProcess",
    "LimitReward",
    "Method",
    "NodeCounts",
    "Problem",
    "RolloutFailed",
    "Scheme",
    "Search",
    "SearchConfig",
    "SecondOpinionReward",
    "SelectionRule",
    "SpectralReward",
    "TwistFactory",
    "WeightedSamples",
    "WeightedSum",
    "WideningRule",
    "best_of_n",
    "dps",
    "dts",
    "dts_late",
    "dts_star",
    "fit_coupling",
    "fit_opinions",
    "fk",
    "joint_problem",
    "load_csv",
    "load_etth1",
    "load_pretrained",
    "load_prior",
    "method_named",
    "prior",
    "sadt",
    "sadt_tree",
    "sample",
    "sample_prior",
    "search",
    "smc_debiased",
    "snis",
    "tds",
    "with_prior_samples",
    "with_second_opinions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sadt_ray' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
