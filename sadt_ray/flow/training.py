"""Train F_phi in slices: absorb rows, make gradient steps, and keep the best flow so far.

    min over phi   E over sibling groups (x, z_1..z_K) and lambda   rho( delta_lambda(x) ),      see ``flow.losses``.

Off-line and on-line training share this code: ``absorb`` takes new rows, ``run`` makes steps. The averaged weights are
validated on held-out contexts, always with the same sibling groups and inverse temperatures. The reference is the
look-ahead base, the initial value of the network. A flow that is worse than the base is never published.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sadt_ray.flow.batches import (
    LOWEST,
    Batch,
    draw_paths,
    draw_sibling_groups,
    log_flow,
    make_batch,
    step_residuals,
    there_of,
)
from sadt_ray.flow.examples import Examples
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.losses import REGRESSIONS, huber, parse_loss, path_loss
from sadt_ray.flow.network import FlowConfig, FlowNetwork
from sadt_ray.flow.store import ExampleStore
from sadt_ray.flow.training_config import TrainingConfig

_LOG_Z_ROWS = 4096  # number of learned log Z; with more problems some share one
_VALIDATION_GROUPS, _VALIDATION_LAMS = 1024, 4
_MIN_GROUPS = 16
_CLIP = 10.0  # largest norm of a gradient
_LOG_Z_RATE = 10.0  # learning rate of log Z, relative to that of the network
_BACKWARD = 3  # cost of a training step, in forward passes


class Metrics(NamedTuple):
    """Mean Huber loss and root mean square of one-step residuals on held-out contexts, in nats."""

    loss: float
    rms: float
    base_loss: float  # loss of F = base
    base_rms: float  # root mean square for F = base

    @property
    def diverged(self) -> bool:
        """Whether the flow is worse than the base."""
        return not self.loss <= self.base_loss


class FlowTraining:
    """Trains one flow. It does not depend on files, Ray or processes.

    Args:
        config: settings.
        flow: sizes of the network, see ``TrainingConfig.flow_config``.
        denoiser_multiply_adds: multiply-adds per evaluation of the process, the unit of ``cost_nfe``; 0 if unknown.

    Attributes:
        step: number of steps.
        skipped: number of steps with a loss or gradient that was not finite; they changed nothing.
        best, best_step: metrics and step of the best flow; ``best`` is None before the first validation.
        latest: metrics of the last validation; None before the first.
    """

    def __init__(self, config: TrainingConfig, flow: FlowConfig, denoiser_multiply_adds: int = 0) -> None:
        self.config, self._denoiser = config, denoiser_multiply_adds
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._network = FlowNetwork(flow)
        self._average = copy.deepcopy(self._network).requires_grad_(False)
        self._log_z = nn.Parameter(torch.zeros(_LOG_Z_ROWS, 2))
        self._optimizer = torch.optim.Adam(
            [{"params": list(self._network.parameters())}, {"params": [self._log_z]}], lr=config.lr
        )
        self._rng = np.random.default_rng(config.seed)
        self._store = ExampleStore(config)
        self._terms, self._regression = parse_loss(config.loss), REGRESSIONS[config.regression]
        self._best: dict[str, Tensor] = {}
        self.best: Metrics | None = None
        self.latest: Metrics | None = None
        self.step = self.skipped = self.best_step = 0
        self._scaled = False
        self._features_nfe, self._multiply_adds = 0, 0
        self._validation: Batch | None = None
        self._base = _weights(self._network)  # initial weights: the network's output is 0, so F = base

    def absorb(self, examples: Examples) -> int:
        """Add rows, and drop the oldest beyond the bound. Returns the number of new rows.

        Raises ValueError for another number of features than the network's, or a position beyond its last one.
        """
        flow = self._network.config
        if len(examples) and examples.features.shape[1] not in (0, flow.num_features):
            raise ValueError(f"the flow has {flow.num_features} features, the rows have {examples.features.shape[1]}")
        if examples.position.max(initial=0) >= flow.num_positions:
            raise ValueError(f"the flow has {flow.num_positions} positions, a row has {examples.position.max()}")
        self._features_nfe += examples.nfe
        new = self._store.add(examples)
        if new:
            self._validation = None
        return new

    def __len__(self) -> int:
        return len(self._store)

    @property
    def num_families(self) -> int:
        """Number of sibling groups in the training part."""
        return len(self._store.training) if len(self._store) else 0

    @property
    def ready(self) -> bool:
        """Whether there are enough sibling groups to begin."""
        return self.num_families >= _MIN_GROUPS

    @property
    def patient(self) -> bool:
        """Whether one of the last ``config.patience`` validations was the best, or there were fewer."""
        return self.step - self.best_step < self.config.patience * self.config.validate_every

    @property
    def cost_nfe(self) -> float:
        """Cost of features and training so far, in evaluations of the process."""
        return self._features_nfe + (self._multiply_adds / self._denoiser if self._denoiser else 0.0)

    def run(self, steps: int, progress: Callable[[int], None] | None = None) -> dict[str, float]:
        """Make ``steps`` steps, with the validations that are due. Returns ``metrics``.

        Raises ValueError if there are too few sibling groups.
        """
        if not self.ready:
            raise ValueError(
                f"a flow needs at least {_MIN_GROUPS} groups of {self.config.min_siblings} siblings for training, "
                f"there are {self.num_families}; run more rollouts"
            )
        self._scale()
        losses = []
        for _ in range(steps):
            losses.append(self._train_step())
            if self.step % self.config.validate_every == 0:
                self.validate()
            if progress is not None:
                progress(self.step)
        return self.metrics(float(np.nanmean(losses)) if np.isfinite(losses).any() else math.nan)

    def metrics(self, loss: float = math.nan) -> dict[str, float]:
        """Figures of the training by name."""
        latest = self.latest or Metrics(math.nan, math.nan, math.nan, math.nan)
        return {
            "step": self.step, "loss": loss, "validation_loss": latest.loss, "validation_rms": latest.rms,
            "base_loss": latest.base_loss, "base_rms": latest.base_rms, "best_step": self.best_step,
            "skipped": self.skipped, "rows": len(self._store), "families": self.num_families,
            "cost_nfe": self.cost_nfe,
        }  # fmt: skip

    @torch.no_grad()
    def validate(self) -> Metrics | None:
        """Validate the averaged weights on held-out contexts, and keep them if they are the best.

        Returns None if nothing is held out; then the latest weights are kept.
        """
        self._scale()
        if self._validation is None:
            self._new_validation()
        if self._validation is None:  # nothing is held out: keep the latest
            self.best_step, self._best = self.step, _weights(self._average)
            return None
        self._average.tilt.copy_(self._tilt(self._average))
        self.latest = self._measured(self._average)
        if not self.latest.diverged and (self.best is None or self.latest.loss < self.best.loss):
            self.best, self.best_step, self._best = self.latest, self.step, _weights(self._average)
        return self.latest

    @property
    def diverged(self) -> bool:
        """Whether the last validation was worse than the look-ahead base."""
        return self.latest is not None and self.latest.diverged

    def flow(
        self, version: int = 0, facts: Mapping[str, str | int | float] | None = None, latest: bool = False
    ) -> Flow:
        """The best flow so far, or the base if none was better; with ``latest``, the averaged weights as they are."""
        about = {"steps": self.step, "rows": len(self._store), "cost_nfe": round(self.cost_nfe), **(facts or {})}
        weights = _weights(self._average) if latest else dict(self._best or self._base)
        return Flow(self._network.config, weights, version, about)

    def state(self) -> dict[str, Any]:
        """The whole state without the rows, as tensors and plain values. With the same rows it resumes bit for bit."""
        return {
            "network": _weights(self._network), "average": _weights(self._average), "best_weights": dict(self._best),
            "log_z": self._log_z.detach().clone(), "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "rng": copy.deepcopy(self._rng.bit_generator.state), "held_out": dict(self._store.held_out),
            "step": self.step, "skipped": self.skipped, "best_step": self.best_step, "scaled": self._scaled,
            "best": None if self.best is None else tuple(self.best), "features_nfe": self._features_nfe,
            "latest": None if self.latest is None else tuple(self.latest), "multiply_adds": self._multiply_adds,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of ``state`` into a training of the same configuration."""
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._best = dict(state["best_weights"])
        with torch.no_grad():
            self._log_z.copy_(state["log_z"])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._rng.bit_generator.state = copy.deepcopy(state["rng"])
        self._store.hold_out(state["held_out"])
        self.step, self.skipped, self.best_step = state["step"], state["skipped"], state["best_step"]
        self._scaled = state["scaled"]
        self.best = None if state["best"] is None else Metrics(*state["best"])
        self.latest = None if state["latest"] is None else Metrics(*state["latest"])
        self._features_nfe, self._multiply_adds = state["features_nfe"], state["multiply_adds"]

    def _train_step(self) -> float:
        """Make one step. Returns the loss; NaN if loss or gradient is not finite, and then nothing changes."""
        rate = self.config.learning_rate(self.step)
        network, log_z = self._optimizer.param_groups
        network["lr"], log_z["lr"] = rate, _LOG_Z_RATE * rate
        self.step += 1
        loss = self._loss()
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_([*self._network.parameters(), self._log_z], _CLIP)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            self.skipped += 1
            return math.nan
        self._optimizer.step()
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for ours, theirs in zip(self._average.parameters(), self._network.parameters(), strict=True):
                ours.lerp_(theirs, 1 - decay)
        return loss.item()

    def _loss(self) -> Float[Tensor, ""]:
        """Loss of a batch of sibling groups, of paths, or of both."""
        total = torch.zeros(())
        of_paths = [term for term in self._terms if term.of_paths]
        for term in self._terms:
            if not term.of_paths:
                batch = draw_sibling_groups(self._store.training, self.config, self._rng)
                total = total + term.weight * self._regression(self._residuals(batch)).mean()
        if of_paths:
            paths = draw_paths(self._store.training, self.config, self._network.config.num_positions, self._rng)
            steps = self._residuals(paths.batch).reshape(paths.shape)
            held, group = there_of(paths.batch).reshape(paths.shape), paths.group
            log_z = self._learned_log_z(paths.batch.parent.reshape(paths.shape)[:, 0], paths.lam)
            for term in of_paths:
                total = total + term.weight * path_loss(term, steps, held, group, log_z, self._regression)
        return total

    def _residuals(self, batch: Batch) -> Float[Tensor, " B"]:
        self._multiply_adds += _BACKWARD * batch.num_rows * self._network.multiply_adds
        target = self._average if self.config.target_average else None
        return step_residuals(self._network, self._store.tensors, batch, self.config.correct_bias, target)

    def _learned_log_z(self, roots: Int[Tensor, " N"], lam: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """log Z = lambda (base + a + b log lambda), with a and b learned for each problem."""
        problem = self._store.tensors["problem"][roots]
        a, b = self._log_z[problem % _LOG_Z_ROWS].unbind(1)
        return lam * (self._store.tensors["log_z_base"][problem] + a + b * lam.log())

    def _scale(self) -> None:
        """Set the scales of the network from the first rows, once: a change of scales would change the function."""
        if self._scaled:
            return
        scales = self._store.scales(self._network.config.num_positions)
        for network in (self._network, self._average):
            network.load_state_dict(scales, strict=False)
        self._scaled = True

    def _new_validation(self) -> None:
        """Draw sibling groups for validation; they stay until rows are added. Validates the best flow again."""
        siblings, config, rng = self._store.validation, self.config, np.random.default_rng(self.config.seed)
        if len(siblings) == 0:
            return
        rows = siblings.draw(_VALIDATION_GROUPS, rng) if len(siblings) > _VALIDATION_GROUPS else siblings.rows
        lam = np.geomspace(config.min_inv_temperature, config.max_inv_temperature, _VALIDATION_LAMS)
        rows, lam = np.tile(rows, len(lam)), np.repeat(lam, len(rows))
        self._validation = make_batch(rows, siblings.children(rows, rng), lam)
        if self._best and self.best is not None:
            network = copy.deepcopy(self._average)
            network.load_state_dict(self._best)
            self.best = self._measured(network)
            if self.best.diverged:
                self.best, self._best = None, {}

    def _measured(self, network: FlowNetwork) -> Metrics:
        assert self._validation is not None
        sizes = []
        for flow in (network, None):
            residuals = step_residuals(flow, self._store.tensors, self._validation, self.config.correct_bias)
            sizes += [huber(residuals).mean().item(), residuals.square().mean().sqrt().item()]
        return Metrics(*sizes)

    def _tilt(self, network: FlowNetwork) -> Float[Tensor, " positions"]:
        """Standard deviation of F among held-out siblings, at every position."""
        assert self._validation is not None
        children, tensors = self._validation.children, self._store.tensors
        rows, lam = children.clamp_min(0), self._validation.lam
        flow = log_flow(network, tensors, rows.reshape(-1), lam.repeat_interleave(rows.shape[1])).reshape(rows.shape)
        known = (children >= 0) & (flow > LOWEST)
        whole = known.all(1)
        variance = (flow[whole] / lam[whole, None]).var(1)
        position = tensors["position"][rows[whole, 0]]
        count = torch.bincount(position, minlength=len(network.tilt))
        total = torch.zeros(len(network.tilt)).index_add_(0, position, variance)
        return torch.sqrt(total / count.clamp_min(1))


def _weights(network: FlowNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
