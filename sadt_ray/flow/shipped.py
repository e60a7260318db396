"""The flow that ships with the package, for the prior that does and the reward that searches have by default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.processes.fingerprint import prior_fingerprint

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def shipped_flow(
    process: GenerativeProcess, problems: Sequence[Problem], reward: Reward, inv_temperature: float
) -> Flow | None:
    """The flow that ships for a prior, if there is one that was trained for just this reward, lambda and data set.

    Args:
        process: the prior, told by the fingerprint of its weights and sampler.
        problems: windows, whose names begin with the data set's, as in ``ETTh1/test/0007/OT``.
        reward: told by its ``repr``, with all weights.
        inv_temperature: lambda of the search.
    """
    fingerprint = prior_fingerprint(process)
    for path in sorted(WEIGHTS.glob("flow_*.safetensors")) if fingerprint else []:
        flow = Flow.load(path)
        facts, (low, high) = flow.facts or {}, (flow.config.min_inv_temperature, flow.config.max_inv_temperature)
        of_its_data = all(problem.name.startswith(f"{facts.get('dataset')}/") for problem in problems)
        fits = facts.get("prior") == fingerprint and facts.get("reward") == repr(reward)
        if fits and of_its_data and low <= inv_temperature <= high:
            return flow
    return None
