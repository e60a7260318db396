"""Particle sweeps: a rollout of n particles instead of one, twisted Sequential Monte Carlo from a node down to x_0.

    w_t = psi_t(x_t) / psi_{t+1}(x_{t+1}) * p(x_t | x_{t+1}) / q(x_t | x_{t+1}),   psi_0 = exp(lambda r),
    Z_hat = prod_t (1/n) sum_i w_t^i,                                             E[Z_hat] = exp(lambda V(node))

for any twist psi and any proposal q with the prior's support (Whiteley & Lee, *Twisted particle filters*, 2014). The
weights of the particles at x_0 make them samples of the target below the node. Sweeps of one node pool by their Z_hat,
in any order, on any machine. One particle without a twist is the plain rollout of DTS.

Twist and proposal give a sweep its name: Feynman-Kac steering (psi = exp(lambda r(x0_hat))), TDS (the same, leaning
along its gradient), debiased SMC (r~), S-ADT's (the flow).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import logsumexp, softmax
from torch import Tensor

from sadt_ray.allocation import candidates_at, growth_position
from sadt_ray.batches import concatenated
from sadt_ray.endings import endings
from sadt_ray.interfaces import Chain, Failure, Results, Scorer, States, Tickets
from sadt_ray.kinship import Kinship
from sadt_ray.processes.walk import Choice, View, Walk, level_positions, walk_from
from sadt_ray.resampling import scheme_named
from sadt_ray.rng import derive_seed_grid, uniforms
from sadt_ray.sweep_config import SweepConfig
from sadt_ray.twists import LOWEST, Twist

_PARTICLES, _HARVEST = 5, 1 << 26  # streams of a ticket's seed
_RESAMPLING = 1 << 24  # and the position; the chain's own streams of uniforms are below


@dataclass(frozen=True)
class Sweeper:
    """Runs tickets as sweeps.

    Args:
        chain, scorer, num_levels: what is swept.
        config: particles, proposal, resampling.
        twist: bound to the same problems.
        lam: lambda.
        leans, chooses: whether proposals follow the twist's gradient, and choose among candidates.
    """

    chain: Chain
    scorer: Scorer
    num_levels: int
    config: SweepConfig
    twist: Twist
    lam: float
    leans: bool = False
    chooses: bool = False

    def __call__(self, tickets: Tickets) -> Results:
        """One sweep a ticket; tickets of one level run together. A ticket with a particle that cannot be scored fails.

        Of one particle from the prior all branch levels become nodes. Of several, or from a proposal, the ticket's new
        child, drawn from the prior, and an x_0 that stands for all particles, with their weights.
        """
        started = time.perf_counter()
        groups = [
            sweeper._same_level(some.take(some.level == level), int(level))
            for sweeper, some in self._harvesting(tickets)
            for level in np.unique(some.level)
        ]
        return replace(concatenated(groups), seconds=time.perf_counter() - started)

    def _harvesting(self, tickets: Tickets) -> list[tuple[Sweeper, Tickets]]:
        """Tickets that are harvested, and tickets that are not, each with what sweeps them."""
        config = self.config
        if not config.harvest:
            return [(self, tickets)]
        chosen = uniforms(tickets.seed, np.full(len(tickets), _HARVEST), 1)[:, 0] < config.harvest_share
        harvester = replace(self, config=replace(config, resampling=config.harvest_resampling or config.resampling))
        other = replace(self, config=replace(config, harvest=False))
        return [(harvester, tickets.take(chosen)), (other, tickets.take(~chosen))]

    @property
    def proposes(self) -> bool:
        """Whether particles are drawn from anything but the prior."""
        return self.leans or (self.chooses and self.config.candidates > 1)

    def _same_level(self, tickets: Tickets, level: int) -> Results:
        positions, single = level_positions(self.chain, self.num_levels), self.config.particles == 1
        every_level = single and not self.proposes  # nodes must be drawn from the prior
        alone = not every_level and level + 1 < self.num_levels
        population = Population(self, tickets, int(positions[level]), start=int(positions[level + alone]))
        if alone:
            population.descend_alone(int(positions[level + 1]), level + 1)
        below = range(level + 1, self.num_levels) if every_level else ()
        population.sweep(int(positions[-1]), {int(positions[lower]): lower for lower in below})
        return population.results()


@dataclass(frozen=True)
class _Nodes:
    """One new node a ticket."""

    level: int
    states: States
    log_flow: Float[np.ndarray, " B"]


class Population:
    """n particles of each of B tickets, all at one position, with their weights since the last resampling.

    There is one of each before ``start``.
    """

    def __init__(self, sweeper: Sweeper, tickets: Tickets, position: int, start: int) -> None:
        self._sweeper, self._tickets = sweeper, tickets
        self._resample = scheme_named(sweeper.config.resampling)
        self._walk: Walk = walk_from(sweeper.chain, tickets.state, position, tickets.problem)
        self._shape = (len(tickets), sweeper.config.particles)
        grows = sweeper.config.growth > 1 and sweeper.config.particles > 1
        self._grows_at = growth_position(start, sweeper.twist.tilt) if grows else None
        if self._grows_at is not None:
            self._shape = (len(tickets), sweeper.config.particles // sweeper.config.growth)
        self._log_z = np.zeros(len(tickets))
        self._log_weights, self._log_twist = np.zeros((2, *self._shape))
        self._nfe, self._calls = np.zeros(len(tickets)), 0
        self._path: list[_Nodes] = []
        self._kinship = Kinship(self._shape) if sweeper.config.harvest else None

    def descend_alone(self, position: int, level: int) -> None:
        """By the prior to the ticket's new node, before there are several particles."""
        while self._walk.position < position:
            self._walk.step(self._tickets.seed)
        log_flow, _ = self._look(lean=False)
        self._path.append(_Nodes(level, self._walk.states(), log_flow))
        if self._kinship is not None:
            self._kinship.below_new_nodes()

    def sweep(self, last: int, level_at: dict[int, int]) -> None:
        """To x_0; states at the positions ``level_at`` become nodes of that level."""
        self._branch_off()
        start = self._walk.position
        while True:
            gradient = self._arrive(start, level_at)
            if self._walk.position == self._grows_at:
                gradient = self._grown(gradient)
            log_ratio = self._walk.step(self._seeds(), gradient, self._choice(last))
            if log_ratio is not None:
                self._log_weights += log_ratio.reshape(self._shape)
            self._pay()
            if self._kinship is not None:
                self._kinship.born(self._walk.position, self._walk.states(), log_ratio)
            if self._walk.position == last:
                return

    def _arrive(self, start: int, level_at: dict[int, int]) -> Tensor | None:
        """Look, weigh, resample: all that happens at one position before the next step. Returns its gradient."""
        position, sweeper = self._walk.position, self._sweeper
        wanted = not sweeper.twist.idle or position in level_at or sweeper.config.families
        if position == 0 or not (sweeper.leans if position == start else wanted):
            return None
        log_twist, gradient = self._look(sweeper.leans)
        if position == start:
            return gradient  # what all particles share is in no weight
        if position in level_at:
            self._path.append(_Nodes(level_at[position], self._walk.states(), log_twist))
        if self._kinship is not None:
            self._kinship.know(log_twist)
        log_psi = nothing_ruled_out(log_twist.reshape(self._shape))
        self._log_weights += log_psi - self._log_twist
        self._log_twist = log_psi
        return self._resampled(gradient)

    def _look(self, lean: bool) -> tuple[Float[np.ndarray, " N"], Tensor | None]:
        """log psi of every row, and its gradient."""
        twist = self._sweeper.twist
        if twist.idle:
            return np.zeros(len(self._walk.states())), None
        view = self._walk.look(lean)
        with torch.set_grad_enabled(lean):
            log_twist = twist(view)
        self._calls += twist.reward_calls * (len(view.problem) // self._shape[0])
        self._nfe += twist.nfe * (2 if lean else 1) * (len(view.problem) // self._shape[0])
        gradient = self._walk.gradient(log_twist) * self._sweeper.config.lean_scale if lean else None
        return log_twist.detach().double().cpu().numpy(), gradient

    def _choice(self, last: int) -> Choice | None:
        """Candidates of the next step; x_0 itself is left to the reward."""
        sweeper, position = self._sweeper, self._walk.position
        if not sweeper.chooses or position in (0, last - 1):
            return None
        count = candidates_at(position + 1, sweeper.config.candidates, sweeper.twist.tilt)
        if count == 1:
            return None
        self._nfe += sweeper.twist.nfe * count * self._shape[1]
        self._calls += sweeper.twist.reward_calls * count * self._shape[1]

        def log_twist(view: View) -> Tensor:
            psi = sweeper.twist(view).detach()
            known = nothing_ruled_out(psi.double().cpu().numpy().reshape(-1, count))
            return torch.as_tensor(known.ravel(), dtype=psi.dtype, device=psi.device)

        return Choice(count, log_twist)

    def _resampled(self, gradient: Tensor | None) -> Tensor | None:
        """Tickets whose weights have become too unequal go on with the particles that carry them."""
        config, (batch, n) = self._sweeper.config, self._shape
        log_total = logsumexp(self._log_weights, axis=1)
        alive = np.isfinite(log_total)
        weights = np.where(alive[:, None], softmax(np.where(alive[:, None], self._log_weights, 0.0), axis=1), 1 / n)
        due = 1 / np.square(weights).sum(1) < config.ess_threshold * n
        due |= config.families
        due &= alive & config.weighted & (n > 1)
        if not due.any():
            return gradient
        u = uniforms(self._tickets.seed, np.full(batch, _RESAMPLING + self._walk.position), n)
        ancestors = np.where(due[:, None], self._resample(weights, u), np.arange(n))
        self._log_z[due] += log_total[due] - np.log(n)
        self._log_weights[due] = 0.0
        self._log_twist = np.take_along_axis(self._log_twist, ancestors, axis=1)
        rows = (ancestors + n * np.arange(batch)[:, None]).ravel()
        return self._go_on_with(rows, gradient)

    def _grown(self, gradient: Tensor | None) -> Tensor | None:
        """Several copies of each particle: its weight is the mean of theirs."""
        (batch, n), times = self._shape, self._sweeper.config.growth
        self._walk.evaluate()
        self._pay()
        self._shape = (batch, n * times)
        self._log_weights = np.repeat(self._log_weights, times, axis=1)
        self._log_twist = np.repeat(self._log_twist, times, axis=1)
        return self._go_on_with(np.repeat(np.arange(batch * n), times), gradient)

    def _go_on_with(self, rows: Int[np.ndarray, " N"], gradient: Tensor | None) -> Tensor | None:
        self._walk.take(rows)
        if self._kinship is not None:
            self._kinship.take(rows)
        return None if gradient is None else gradient[torch.as_tensor(rows, device=gradient.device)]

    def _branch_off(self) -> None:
        """n copies of each row; what they share is evaluated once."""
        self._walk.evaluate()
        self._pay()
        self._walk.take(np.repeat(np.arange(self._shape[0]), self._shape[1]))

    def _pay(self) -> None:
        self._nfe += self._walk.take_nfe().reshape(self._shape[0], -1).sum(1)

    def _seeds(self) -> np.ndarray:
        seed, n = self._tickets.seed, self._shape[1]
        return seed if n == 1 else derive_seed_grid(seed, _PARTICLES, n).ravel()

    def results(self) -> Results:
        """Score x_0 and weigh."""
        sweeper, (batch, n) = self._sweeper, self._shape
        states, problem = self._walk.states(), np.repeat(self._tickets.problem, n)
        ends = endings(sweeper.chain, sweeper.scorer, states, problem, sweeper.lam)
        failed = {row // n: ends.messages[row] for row in sorted(ends.messages, reverse=True)}  # the first of each
        good = np.array([b not in failed for b in range(batch)])
        log_weights, value = self._final(ends.value.reshape(batch, n))
        held = (good & np.isfinite(log_weights).any(1))[:, None] & np.ones(n, bool)
        samples, rewards, log_share, counts = ends.samples_of(held.ravel())
        held_counts = np.zeros(held.size, np.int64)
        held_counts[held.ravel()] = counts
        nfe = np.ceil(self._nfe - 1e-9).astype(np.int64) + ends.nfe.reshape(batch, n).sum(1)
        heaviest = np.arange(batch) * n + np.where(held, log_weights, -np.inf).argmax(1)
        leaf = _Nodes(sweeper.num_levels, states[heaviest], sweeper.lam * value)
        path, tickets = [*self._path, leaf], self._tickets
        return Results(
            id=tickets.id[good],
            value=value[good],
            path_splits=len(path) * np.arange(good.sum() + 1),
            path_level=np.tile([nodes.level for nodes in path], good.sum()),
            path_state=np.stack([nodes.states for nodes in path], axis=1)[good].reshape(-1, *states.shape[1:]),
            path_log_flow=np.stack([nodes.log_flow for nodes in path], axis=1)[good].reshape(-1),
            sample_splits=np.concatenate([[0], np.cumsum(held_counts.reshape(batch, n).sum(1)[good])]),
            samples=samples,
            rewards=rewards,
            sample_log_weight=np.repeat(log_weights.ravel()[held.ravel()], counts) + log_share,
            nfe=nfe[good],
            reward_calls=self._calls + ends.reward_calls.reshape(batch, n).sum(1)[good],
            harvest=None if self._kinship is None else self._kinship.harvest(good, ends.value),
            failures=tuple(
                Failure(int(tickets.id[b]), int(tickets.problem[b]), message, int(nfe[b]))
                for b, message in sorted(failed.items())
            ),
        )

    def _final(self, rewards: Float[np.ndarray, "B n"]) -> tuple[Float[np.ndarray, "B n"], Float[np.ndarray, " B"]]:
        """Normalised log-weights of the particles, and the value of each ticket, log Z_hat / lambda."""
        lam, n = self._sweeper.lam, self._shape[1]
        if not self._sweeper.config.weighted:
            return np.full(self._shape, -np.log(n)), rewards.mean(1)
        log_weights = self._log_weights + lam * rewards - self._log_twist
        log_total = logsumexp(log_weights, axis=1)
        value = rewards[:, 0] if n == 1 and not self._sweeper.proposes else (self._log_z + log_total - np.log(n)) / lam
        with np.errstate(invalid="ignore"):
            return log_weights - log_total[:, None], value


def nothing_ruled_out(log_twist: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
    """log psi with what is not known as low as the lowest of its sweep, or among its candidates, that is.

    psi > 0 keeps Z_hat unbiased: nothing that the reward has not seen is out of a proposal's reach.
    """
    known = log_twist > LOWEST
    lowest = np.where(known, log_twist, np.inf).min(1, keepdims=True)
    return np.where(known, log_twist, np.where(np.isfinite(lowest), lowest, 0.0))
