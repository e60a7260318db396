"""The flow that ships with the package. It belongs to the shipped prior and the default reward."""

from __future__ import annotations

from pathlib import Path

from sadt_ray.flow.flow import Flow

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def shipped_flow(dataset: str, reward: str, inv_temperature: float) -> Flow | None:
    """The shipped flow of a dataset; None unless it was trained for this reward and this lambda.

    Args:
        dataset: name of the dataset.
        reward: ``repr`` of the reward, with all weights.
        inv_temperature: lambda.
    """
    path = WEIGHTS / f"flow_{dataset.lower()}.safetensors"
    if not path.is_file():
        return None
    flow = Flow.load(path)
    low, high = flow.config.min_inv_temperature, flow.config.max_inv_temperature
    fits = reward == (flow.facts or {}).get("reward") and low <= inv_temperature <= high
    return flow if fits else None
