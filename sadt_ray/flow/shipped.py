"""The flow that ships with the package, for the prior that does and the reward that searches have by default."""

from __future__ import annotations

from pathlib import Path

from sadt_ray.flow.flow import Flow

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def shipped_flow(dataset: str, reward: str, inv_temperature: float) -> Flow | None:
    """The flow for a dataset's shipped prior, if there is one that was trained for just this reward and lambda.

    Args:
        reward: its ``repr``, with all weights.
    """
    path = WEIGHTS / f"flow_{dataset.lower()}.safetensors"
    if not path.is_file():
        return None
    flow = Flow.load(path)
    low, high = flow.config.min_inv_temperature, flow.config.max_inv_temperature
    fits = reward == (flow.facts or {}).get("reward") and low <= inv_temperature <= high
    return flow if fits else None
