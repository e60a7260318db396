"""Rollouts by tempering: a ticket is one whole run of tempered SMC, of the prior itself or of its Gaussian draft.

*Tempered.* Noises z of the chain, x_0 = f(z), are moved towards N(z; 0, I) exp(lambda r(f(z))) / Z, see ``run``.

*Surrogate.* The same on the Gaussian draft x_0 = a z, which costs no evaluation, see ``gaussian_chain``. Then n noises
that lead where the draft was are run through the prior, and weighted:

    Z = Z_draft E_{pi_draft} exp(lambda (r(f(z)) - r(a z)))

Both are consistent as the budget grows. They are not exactly unbiased, because levels and step sizes adapt.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from sadt_ray.interfaces import Chain, Failure, Results, Scorer, Tickets
from sadt_ray.smc.batches import concatenated
from sadt_ray.smc.config import SMCConfig, Tempering
from sadt_ray.smc.tempering.gaussian_chain import GaussianChain
from sadt_ray.smc.tempering.noise_chain import CannotScore, NoiseChain, Population
from sadt_ray.smc.tempering.run import Draws, Target, TemperedRun, Weighted, systematic

_PILOT = 8  # one of so many lifted runs finds how far draft and prior lie apart
_SLACK = 2.0  # standard deviations of that difference


@dataclass
class Ledger:
    """What a ticket has cost so far."""

    nfe: int = 0
    reward_calls: int = 0


@dataclass(frozen=True)
class TemperedSampler:
    """Runs each ticket as tempered SMC; tickets share nothing.

    Args:
        chain, scorer: bound to the same problems.
        num_levels: number of branch levels below the root; every ticket must come from the root.
        config: ``particles`` is the budget in runs of the whole chain.
        lam: inverse temperature lambda.

    Raises:
        ValueError: for a chain that is not a function of Gaussian noises, or has no draft where one is needed.
    """

    chain: Chain
    scorer: Scorer
    num_levels: int
    config: SMCConfig
    lam: float
    _chains: dict[int, tuple[NoiseChain, GaussianChain | None]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self._of_problem(0)

    @property
    def _tempering(self) -> Tempering:
        assert self.config.tempering is not None
        return self.config.tempering

    def __call__(self, tickets: Tickets) -> Results:
        """Weighted samples of every ticket, and log Z_hat / lambda as its value.

        A run that finds no sample of positive density has no sample and the value -inf. A ticket fails if a sample
        cannot be scored. Raises ValueError for a ticket below the root.
        """
        started = time.perf_counter()
        if (tickets.level != 0).any():
            raise ValueError(
                f"tempering starts at the root, a ticket starts at level {tickets.level.max()}; use branch_steps='none'"
            )
        results = concatenated([self._ticket(tickets.take(slice(row, row + 1))) for row in range(len(tickets))])
        return Results(**{**vars(results), "seconds": time.perf_counter() - started})

    def _of_problem(self, problem: int) -> tuple[NoiseChain, GaussianChain | None]:
        if problem not in self._chains:
            chain = NoiseChain(self.chain, self.scorer, problem, (0,))
            count = min(self._tempering.blocks, chain.num_noises)
            firsts = sorted({chain.num_noises * block // count for block in range(count)})
            chain = NoiseChain(self.chain, self.scorer, problem, firsts)
            draft = GaussianChain(self.chain, self.scorer, problem) if self._tempering.surrogate else None
            self._chains[problem] = chain, draft
        return self._chains[problem]

    def _ticket(self, ticket: Tickets) -> Results:
        chain, draft = self._of_problem(int(ticket.problem[0]))
        ledger, draws = Ledger(), Draws(int(ticket.seed[0]))
        try:
            if draft is None:
                found, _ = self._tempered(chain, Target(0.0, self.lam), self.config.particles, draws, ledger)
            else:
                found = self._surrogate(chain, draft, draws, ledger)
        except CannotScore as error:
            return self._failed(ticket, str(error), ledger)
        return self._results(ticket, found, ledger)

    def _tempered(
        self, chain: NoiseChain | GaussianChain, goal: Target, budget: int, draws: Draws, ledger: Ledger
    ) -> tuple[Weighted, bool]:
        """Samples of a target, and whether it has a hard condition."""
        run = TemperedRun(chain, goal, self._tempering, budget, draws)
        try:
            return run.run(), run.hard
        finally:
            ledger.nfe += run.nfe
            ledger.reward_calls += run.reward_calls

    def _surrogate(self, chain: NoiseChain, draft: GaussianChain, draws: Draws, ledger: Ledger) -> Weighted:
        """The draft is tempered; with a hard condition first to find how far draft and prior lie apart."""
        goal, calls = Target(0.0, self.lam), self._tempering.draft_calls
        (found, hard), rest = self._tempered(draft, goal, calls, draws, ledger), self.config.particles
        if len(found.weights) and hard and rest >= 2 * _PILOT:
            pilot, lifted = self._lifted(chain, draft, found, rest // _PILOT, draws, ledger)
            rest -= rest // _PILOT
            slack = _slack(pilot, lifted)
            if slack > 0:
                below = float(np.median(found.runs.rewards.numpy()))
                found, _ = self._tempered(draft, Target(-slack, self.lam, below), calls, draws, ledger)
        if len(found.weights) == 0:
            return found
        drafted, runs = self._lifted(chain, draft, found, rest, draws, ledger)
        log_weights = goal.log_density(runs) - found.target.log_density(drafted)
        return Weighted.of(runs, log_weights, found.log_z, goal)

    def _lifted(
        self, chain: NoiseChain, draft: GaussianChain, found: Weighted, count: int, draws: Draws, ledger: Ledger
    ) -> tuple[Population, Population]:
        """``count`` draws of the draft's runs, and the prior's runs from noises that lead there."""
        drafted = found.runs.take(systematic(found.weights, count, draws))
        ledger.nfe += count * chain.evaluations
        ledger.reward_calls += count
        return drafted, chain.population(
            draft.lifted(drafted.noise, draws.normals(count, chain.num_noises, chain.width))
        )

    def _results(self, ticket: Tickets, found: Weighted, ledger: Ledger) -> Results:
        held = np.flatnonzero(found.weights > 0)
        value = found.log_z / self.lam
        state = ticket.state
        if len(held):
            state = found.runs.clean[int(found.weights.argmax())].numpy().reshape(state.shape)
        return Results(
            id=ticket.id,
            value=np.array([value]),
            path_splits=np.array([0, 1]),
            path_level=np.array([self.num_levels]),
            path_state=state,
            path_log_flow=np.array([found.log_z]),
            sample_splits=np.array([0, len(held)]),
            samples=found.runs.samples.numpy()[held],
            rewards=found.runs.rewards.numpy()[held],
            sample_log_weight=np.log(found.weights[held]),
            nfe=np.array([ledger.nfe]),
            reward_calls=np.array([ledger.reward_calls]),
        )

    def _failed(self, ticket: Tickets, message: str, ledger: Ledger) -> Results:
        no_rows, zeros = np.zeros(0, np.int64), np.zeros(0)
        return Results(
            id=ticket.id[:0],
            value=zeros,
            path_splits=np.zeros(1, np.int64),
            path_level=no_rows,
            path_state=ticket.state[:0],
            path_log_flow=zeros,
            sample_splits=np.zeros(1, np.int64),
            samples=self.chain.decode(ticket.state, ticket.problem)[:0],
            rewards=zeros,
            sample_log_weight=zeros,
            nfe=no_rows,
            reward_calls=no_rows,
            failures=(Failure(int(ticket.id[0]), int(ticket.problem[0]), message, ledger.nfe),),
        )


def _slack(drafted: Population, runs: Population) -> float:
    """How far below a condition the draft may be while the prior satisfies it; 0 where margins do not say."""
    gap = runs.margins.numpy() - drafted.margins.numpy()
    gap = gap[np.isfinite(gap)]
    return max(float(gap.mean() + _SLACK * gap.std()), 0.0) if len(gap) else 0.0
