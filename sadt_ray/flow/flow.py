"""A trained flow as it is kept, sent and used: weights with their configuration, and the twist they make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.flow.network import FlowConfig, FlowNetwork
from sadt_ray.processes.walk import View
from sadt_ray.smc.twists import bounded

FORMAT = "sadt-ray flow 1"


@dataclass(frozen=True)
class Flow:
    """Weights of F_phi.

    Attributes:
        config: of the network.
        weights: by name, as ``FlowNetwork.state_dict``.
        version: counts the publications of one training; 0 for a flow that was made at once.
        facts: what it was trained on: process, reward, steps, evaluations; strings and numbers.
    """

    config: FlowConfig
    weights: Mapping[str, Tensor]
    version: int = 0
    facts: Mapping[str, str | int | float] | None = None

    @classmethod
    def of(cls, network: FlowNetwork, version: int = 0, facts: Mapping[str, str | int | float] | None = None) -> Flow:
        """A snapshot of a network."""
        weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return cls(network.config, weights, version, facts)

    def network(self, device: str | torch.device = "cpu") -> FlowNetwork:
        """A network with these weights, frozen."""
        network = FlowNetwork(self.config).to(device)
        network.load_state_dict(dict(self.weights))
        return network.requires_grad_(False).eval()

    def save(self, path: Path) -> None:
        """One safetensors file with the configuration inside."""
        about = {"format": FORMAT, "config": json.dumps(asdict(self.config)), "version": str(self.version)}
        about["facts"] = json.dumps(dict(self.facts or {}))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.weights.items()}, path, about)

    @classmethod
    def load(cls, path: Path) -> Flow:
        """Raises ValueError for a file that is no flow, OSError for none."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no flow at {path}; python -m jobs.train flow makes one")
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise ValueError(f"it says {about.get('format', 'nothing')!r}, not {FORMAT!r}")
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = FlowConfig(**json.loads(about["config"]))
            FlowNetwork(config).load_state_dict(weights)
            return cls(config, weights, int(about["version"]), json.loads(about["facts"]))
        except Exception as error:
            raise ValueError(f"{path} is not a flow of this program: {error}") from None

    def check(self, inv_temperature: float) -> None:
        """Raises ValueError for a lambda that it was not trained for."""
        low, high = self.config.min_inv_temperature, self.config.max_inv_temperature
        if not low <= inv_temperature <= high:
            raise ValueError(
                f"the flow was trained for inverse temperatures {low:g} to {high:g}, not for {inv_temperature:g}"
            )


class FlowTwist:
    """log psi = lambda F_phi."""

    idle = False

    def __init__(self, flow: Flow, inputs: FlowInputs, lam: float, nfe: float, differentiable: bool) -> None:
        if flow.config.num_positions != inputs.num_positions:
            raise ValueError(
                f"the flow was trained for a process of {flow.config.num_positions} positions, this one has "
                f"{inputs.num_positions}"
            )
        if flow.config.groups not in (0, inputs.groups):
            raise ValueError(f"the flow reads {flow.config.groups} frequencies of a reward, here are {inputs.groups}")
        self._network, self._inputs, self._lam = flow.network(), inputs, lam
        self.nfe, self.differentiable, self.reward_calls = nfe, differentiable, inputs.reward_calls
        tilt = lam * self._network.tilt.numpy()
        self.tilt = tilt if tilt.any() else None

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        inputs = self._inputs.of_view(view)
        count, device = len(inputs.base), inputs.base.device
        position = torch.full((count,), view.position, device=device)
        lam = torch.full((count,), self._lam, device=device)
        return bounded(self._network(inputs.features, inputs.base, position, lam))
