"""A trained flow: weights with their configuration, the file format, and the twist."""

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
    """The weights of F_phi.

    Attributes:
        config: sizes of the network.
        weights: tensors by name, as in ``FlowNetwork.state_dict``.
        version: number of the publication in its training; 0 for a flow outside a training.
        facts: facts about the training, such as process, reward, steps and evaluations; strings and numbers.
    """

    config: FlowConfig
    weights: Mapping[str, Tensor]
    version: int = 0
    facts: Mapping[str, str | int | float] | None = None

    @classmethod
    def of(cls, network: FlowNetwork, version: int = 0, facts: Mapping[str, str | int | float] | None = None) -> Flow:
        """Copy the weights of a network."""
        weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return cls(network.config, weights, version, facts)

    def network(self, device: str | torch.device = "cpu") -> FlowNetwork:
        """Make a frozen network with these weights."""
        network = FlowNetwork(self.config).to(device)
        network.load_state_dict(dict(self.weights))
        return network.requires_grad_(False).eval()

    def save(self, path: Path) -> None:
        """Write one safetensors file that includes the configuration."""
        about = {"format": FORMAT, "config": json.dumps(asdict(self.config)), "version": str(self.version)}
        about["facts"] = json.dumps(dict(self.facts or {}))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.weights.items()}, path, about)

    @classmethod
    def load(cls, path: Path) -> Flow:
        """Read a flow. Raises FileNotFoundError if there is no file, and ValueError if the file is not a flow."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no flow at {path}; train one with `python -m jobs.train flow`")
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise ValueError(f"its format is {about.get('format', 'nothing')!r}, not {FORMAT!r}")
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = FlowConfig(**json.loads(about["config"]))
            FlowNetwork(config).load_state_dict(weights)
            return cls(config, weights, int(about["version"]), json.loads(about["facts"]))
        except Exception as error:
            raise ValueError(f"{path} is not a flow of this program: {error}") from None

    def check(self, inv_temperature: float) -> None:
        """Raise ValueError if the flow was not trained for this lambda."""
        low, high = self.config.min_inv_temperature, self.config.max_inv_temperature
        if not low <= inv_temperature <= high:
            raise ValueError(
                f"the flow was trained for inverse temperatures {low:g} to {high:g}, not for {inv_temperature:g}"
            )


class FlowTwist:
    """The twist log psi = lambda F_phi.

    Args:
        flow: weights.
        inputs: inputs of the flow for bound problems.
        lam: inverse temperature lambda.
        nfe: cost per row, in evaluations of the denoiser.
        differentiable: whether gradients flow to x0_hat.

    Raises ValueError if the flow was trained for another number of positions or of frequencies.
    """

    idle = False

    def __init__(self, flow: Flow, inputs: FlowInputs, lam: float, nfe: float, differentiable: bool) -> None:
        if flow.config.num_positions != inputs.num_positions:
            raise ValueError(
                f"the flow was trained for a process of {flow.config.num_positions} positions, this one has "
                f"{inputs.num_positions}"
            )
        if flow.config.groups not in (0, inputs.groups):
            raise ValueError(
                f"the flow reads {flow.config.groups} frequencies of a reward, this reward has {inputs.groups}"
            )
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
