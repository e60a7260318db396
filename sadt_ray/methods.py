"""The methods by name: where the tree branches, how it is searched, what a rollout is, how samples are weighted.

Independent sampling is the tree with one level: every simulation starts at the root and runs to x_0. ``prior``,
``best-of-n`` and ``snis`` then differ in the final draw alone, and share one search where they share their budget.

A method of your own is a function that returns a ``Method``. Wherever a method is named, ``module:function`` names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any

from sadt_ray.config import Draw, SearchConfig, SelectionRule, WideningRule, load_function
from sadt_ray.smc.config import PLAIN_ROLLOUT, Guidance, Scheme, SMCConfig, Tempering, TwistFactory, siblings_per_parent

BranchSteps = str | Sequence[int]


@dataclass(frozen=True)
class Method:
    """A named way to sample.

    Attributes:
        name: as on the command line and in tables.
        branch_steps: a preset of the process, or numbers of its steps.
        search: how the tree grows and is drawn from.
        smc: what a rollout is; one particle without a twist if not given.
        sized: makes the method for a number of rollouts, where the budget is in function evaluations and what a
            rollout costs is known only when process and reward are; ``budget.fit_to_budget`` resolves it. None
            otherwise.
    """

    name: str
    branch_steps: BranchSteps
    search: SearchConfig
    smc: SMCConfig = PLAIN_ROLLOUT
    sized: Callable[[int], Method] | None = field(default=None, compare=False, repr=False)

    def same_search(self, other: Method) -> bool:
        """Whether the two differ in the final draw alone."""
        drawn_alike = replace(
            self.search, draw=other.search.draw, draw_inv_temperature=other.search.draw_inv_temperature
        )
        return (self.branch_steps, drawn_alike, self.smc) == (other.branch_steps, other.search, other.smc)

    def with_seed(self, seed: int) -> Method:
        """The same method with other random numbers."""
        sized = self.sized
        return replace(
            self,
            search=replace(self.search, seed=seed),
            sized=None if sized is None else lambda count: sized(count).with_seed(seed),
        )


def _method(function: Callable[..., Method]) -> Callable[..., Method]:
    """Refuse parameters that the method does not have, naming the method and the nearest one that it has."""
    known = list(signature(function).parameters)
    name = function.__name__

    @wraps(function)
    def checked(**settings: Any) -> Method:
        for given in settings:
            if given not in known:
                near = get_close_matches(given, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
                raise TypeError(f"{name}() has no parameter {given!r}; {hint}")
        return function(**settings)

    return checked


@_method
def prior(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
) -> Method:
    """Samples of the prior, unweighted: what sampling without the reward gives.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
    """
    return _independent("prior", "uniform", locals())


@_method
def best_of_n(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
) -> Method:
    """The sample with the highest reward of n prior samples: a mode, not a distribution.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
    """
    return _independent("best-of-n", "argmax", locals())


@_method
def snis(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
) -> Method:
    """Self-normalised importance sampling: prior samples weighted by exp(lambda r).

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
    """
    return _independent("snis", "softmax", locals())


@_method
def dts(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    branch_steps: BranchSteps = "published",
    selection: str | SelectionRule = "boltzmann",
    selection_inv_temperature: float | None = None,
    c_uct: float = 1.0,
    widening: str | WideningRule = "progressive",
    widen_c: float = 2.0,
    widen_alpha: float = 0.8,
    virtual_loss: float = 0.0,
    draw: Draw = "softmax",
    draw_inv_temperature: float | None = None,
) -> Method:
    """Diffusion Tree Sampling as published (arXiv 2506.20701): Boltzmann selection, evenly spaced branch steps.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        branch_steps: steps of the chain after which states become nodes, or a preset of the process.
        selection: rule that chooses a child: boltzmann, uct, or a rule of your own.
        selection_inv_temperature: beta of Boltzmann selection; lambda if not given. Lower explores more.
        c_uct: exploration constant of uct, in units of the reward.
        widening: rule that says when a node gets another child: progressive, or one of your own.
        widen_c: a node may have widen_c N^widen_alpha children after N visits.
        widen_alpha: exponent of the same rule.
        virtual_loss: weight by which selection counts rollouts in flight against a child, in units of the reward.
        draw: how finished samples are weighted: softmax, argmax or uniform.
        draw_inv_temperature: inverse temperature of the softmax draw; lambda if not given.
    """
    return _tree("dts", locals())


@_method
def dts_late(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    branch_steps: BranchSteps = "late",
    selection: str | SelectionRule = "boltzmann",
    selection_inv_temperature: float | None = None,
    c_uct: float = 1.0,
    widening: str | WideningRule = "progressive",
    widen_c: float = 2.0,
    widen_alpha: float = 0.5,
    virtual_loss: float = 0.0,
    draw: Draw = "softmax",
    draw_inv_temperature: float | None = None,
) -> Method:
    """DTS that branches where the reward is decided, late in the chain, and reaches those levels at small budgets.

    With the published alpha = .8 a node has grandchildren only after some forty visits, so levels below the first
    stay unused; alpha = .5 gives each level its share. Selection at lambda / 2, the default here, takes a third off
    the error of log Z that comes with it, for a little of the mean reward (validation windows of ETTh1,
    docs/experiments).

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        branch_steps: steps of the chain after which states become nodes, or a preset of the process.
        selection: rule that chooses a child: boltzmann, uct, or a rule of your own.
        selection_inv_temperature: beta of Boltzmann selection; lambda if not given. Lower explores more.
        c_uct: exploration constant of uct, in units of the reward.
        widening: rule that says when a node gets another child: progressive, or one of your own.
        widen_c: a node may have widen_c N^widen_alpha children after N visits.
        widen_alpha: exponent of the same rule.
        virtual_loss: weight by which selection counts rollouts in flight against a child, in units of the reward.
        draw: how finished samples are weighted: softmax, argmax or uniform.
        draw_inv_temperature: inverse temperature of the softmax draw; lambda if not given.
    """
    if selection_inv_temperature is None:
        selection_inv_temperature = inv_temperature / 2
    return _tree("dts-late", locals())


@_method
def dts_star(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    branch_steps: BranchSteps = "published",
    selection: str | SelectionRule = "uct",
    c_uct: float = 1.0,
    widening: str | WideningRule = "progressive",
    widen_c: float = 2.0,
    widen_alpha: float = 0.8,
    virtual_loss: float = 0.0,
    draw: Draw = "argmax",
    draw_inv_temperature: float | None = None,
) -> Method:
    """DTS*, the optimiser: UCT selection and a greedy final draw.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        branch_steps: steps of the chain after which states become nodes, or a preset of the process.
        selection: rule that chooses a child: boltzmann, uct, or a rule of your own.
        c_uct: exploration constant of uct, in units of the reward.
        widening: rule that says when a node gets another child: progressive, or one of your own.
        widen_c: a node may have widen_c N^widen_alpha children after N visits.
        widen_alpha: exponent of the same rule.
        virtual_loss: weight by which selection counts rollouts in flight against a child, in units of the reward.
        draw: how finished samples are weighted: softmax, argmax or uniform.
        draw_inv_temperature: inverse temperature of the softmax draw; lambda if not given.
    """
    return _tree("dts-star", locals())


@_method
def fk(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    particles: int | None = None,
    root_pool: int = 1,
    resampling: str | Scheme = "systematic",
    ess_threshold: float = 0.5,
    record_particles: bool = False,
    record_share: float = 1.0,
    record_resampling: str | Scheme | None = None,
) -> Method:
    """Feynman-Kac steering, twisted SMC by r(x0_hat) (Singhal et al. 2025; Wu et al. 2023 without gradients).

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        particles: particles per ticket; as few and large particle systems as make up the budget if not given.
        root_pool: proposals of x_T per particle, guided by the twist, that particles are resampled from; 1 draws x_T
            from the prior.
        resampling: multinomial, stratified, systematic, residual, siblings-K, or a scheme of your own.
        ess_threshold: resample when the effective sample size falls below this share.
        record_particles: return every particle with its parent, for training a flow.
        record_share: share of the tickets whose particles are recorded.
        record_resampling: resampling of the recorded tickets, if it differs.
    """
    return _particles("fk", locals(), twist="clean")


@_method
def tds(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    guidance_scale: float = 1.0,
    particles: int | None = None,
    root_pool: int = 1,
    resampling: str | Scheme = "systematic",
    ess_threshold: float = 0.5,
    record_particles: bool = False,
    record_share: float = 1.0,
    record_resampling: str | Scheme | None = None,
) -> Method:
    """Twisted Diffusion Sampler (Wu et al. 2023): FK with proposals along the gradient of r(x0_hat).

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        guidance_scale: length of the guidance step; 1 is exact for a log-linear twist.
        particles: particles per ticket; as few and large particle systems as make up the budget if not given.
        root_pool: proposals of x_T per particle, guided by the twist, that particles are resampled from; 1 draws x_T
            from the prior.
        resampling: multinomial, stratified, systematic, residual, siblings-K, or a scheme of your own.
        ess_threshold: resample when the effective sample size falls below this share.
        record_particles: return every particle with its parent, for training a flow.
        record_share: share of the tickets whose particles are recorded.
        record_resampling: resampling of the recorded tickets, if it differs.
    """
    return _particles("tds", locals(), twist="clean", guidance="always")


@_method
def dps(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    particles: int | None = None,
    guidance_scale: float = 1.0,
) -> Method:
    """Diffusion Posterior Sampling (Chung et al. 2023): proposals along the gradient of r(x0_hat), and no weights.

    Biased at any budget: nothing corrects for the proposal. Its estimate of log Z means nothing.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        particles: particles per ticket; as few and large particle systems as make up the budget if not given.
        guidance_scale: length of the guidance step; 1 is exact for a log-linear twist.
    """
    return _particles("dps", locals(), twist="clean", guidance="always", weighted=False, draw="uniform")


@_method
def smc_debiased(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    particles: int | None = None,
    root_pool: int = 1,
    resampling: str | Scheme = "systematic",
    ess_threshold: float = 0.5,
    record_particles: bool = False,
    record_share: float = 1.0,
    record_resampling: str | Scheme | None = None,
) -> Method:
    """SMC by r~, the look-ahead that takes the scatter of x_0 into account: the strongest method that learns nothing.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        particles: particles per ticket; as few and large particle systems as make up the budget if not given.
        root_pool: proposals of x_T per particle, guided by the twist, that particles are resampled from; 1 draws x_T
            from the prior.
        resampling: multinomial, stratified, systematic, residual, siblings-K, or a scheme of your own.
        ess_threshold: resample when the effective sample size falls below this share.
        record_particles: return every particle with its parent, for training a flow.
        record_share: share of the tickets whose particles are recorded.
        record_resampling: resampling of the recorded tickets, if it differs.
    """
    return _particles("smc-debiased", locals(), twist="debiased")


@_method
def sweep(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    branch_steps: BranchSteps = "none",
    particles: int | None = None,
    twist: str | TwistFactory = "flow",
    guidance: Guidance = "possible",
    guidance_scale: float = 0.5,
    split_factor: int = 4,
    num_candidates: int = 4,
    root_pool: int = 16,
    resampling: str | Scheme = "systematic",
    ess_threshold: float = 0.7,
    record_particles: bool = False,
    record_share: float = 1.0,
    record_resampling: str | Scheme | None = None,
) -> Method:
    """Independent particle systems under the flow: guided, chosen among candidates, weighted. r~ until there is a flow.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        branch_steps: steps of the chain whose states become nodes, for a record of them; every system starts at the
            root.
        particles: particles per ticket; as few and large particle systems as make up the budget if not given.
        twist: approximation of the soft value: clean, debiased, flow, or a look-ahead of your own.
        guidance: whether proposals follow the gradient of the twist: never, possible, always.
        guidance_scale: length of the guidance step; 1 is exact for a log-linear twist.
        split_factor: the system starts with so many times fewer particles and is split later.
        num_candidates: next states that each particle chooses from by the twist, on average.
        root_pool: proposals of x_T per particle, guided by the twist, that particles are resampled from; 1 draws x_T
            from the prior.
        resampling: multinomial, stratified, systematic, residual, siblings-K, or a scheme of your own.
        ess_threshold: resample when the effective sample size falls below this share.
        record_particles: return every particle with its parent, for training a flow.
        record_share: share of the tickets whose particles are recorded.
        record_resampling: resampling of the recorded tickets, if it differs.
    """
    return _particles("sweep", locals())


@_method
def sadt(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    branch_steps: BranchSteps | None = None,
    selection: str | SelectionRule = "boltzmann",
    selection_inv_temperature: float | None = None,
    c_uct: float = 1.0,
    widening: str | WideningRule = "progressive",
    widen_c: float = 2.0,
    widen_alpha: float = 0.8,
    virtual_loss: float = 0.0,
    alpha: float = 1.0,
    alpha_visits: float | None = None,
    particles: int | None = None,
    twist: str | TwistFactory = "flow",
    guidance: Guidance = "possible",
    guidance_scale: float = 0.5,
    split_factor: int = 4,
    num_candidates: int = 4,
    root_pool: int = 16,
    resampling: str | Scheme = "systematic",
    ess_threshold: float = 0.7,
    record_particles: bool = False,
    record_share: float = 1.0,
    record_resampling: str | Scheme | None = None,
) -> Method:
    """S-ADT: a tree whose rollouts are particle systems under the flow, and whose selection reads the flow alone.

    Selection that depends on states and counts, not on the rewards that rollouts happened to find, keeps log Z
    unbiased. With fewer than eight particle systems there is no tree, unless ``branch_steps`` are given: all start
    at the root, as those of ``sweep`` do. (One large system from a single x_T has the right weights and too little
    diversity: docs/experiments/single-start.md.)

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        branch_steps: steps of the chain after which states become nodes, or a preset of the process.
        selection: rule that chooses a child: boltzmann, uct, or a rule of your own.
        selection_inv_temperature: beta of Boltzmann selection; lambda if not given. Lower explores more.
        c_uct: exploration constant of uct, in units of the reward.
        widening: rule that says when a node gets another child: progressive, or one of your own.
        widen_c: a node may have widen_c N^widen_alpha children after N visits.
        widen_alpha: exponent of the same rule.
        virtual_loss: weight by which selection counts rollouts in flight against a child, in units of the reward.
        alpha: share of the flow in selection, which reads (1 - alpha) v + alpha F.
        alpha_visits: visits after which half of alpha is left; None for a constant alpha.
        particles: particles per ticket; as few and large particle systems as make up the budget if not given.
        twist: approximation of the soft value: clean, debiased, flow, or a look-ahead of your own.
        guidance: whether proposals follow the gradient of the twist: never, possible, always.
        guidance_scale: length of the guidance step; 1 is exact for a log-linear twist.
        split_factor: the system starts with so many times fewer particles and is split later.
        num_candidates: next states that each particle chooses from by the twist, on average.
        root_pool: proposals of x_T per particle, guided by the twist, that particles are resampled from; 1 draws x_T
            from the prior.
        resampling: multinomial, stratified, systematic, residual, siblings-K, or a scheme of your own.
        ess_threshold: resample when the effective sample size falls below this share.
        record_particles: return every particle with its parent, for training a flow.
        record_share: share of the tickets whose particles are recorded.
        record_resampling: resampling of the recorded tickets, if it differs.
    """
    return _particles("sadt", locals(), few=True)


@_method
def sadt_tree(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    branch_steps: BranchSteps = "published",
    selection: str | SelectionRule = "boltzmann",
    selection_inv_temperature: float | None = None,
    c_uct: float = 1.0,
    widening: str | WideningRule = "progressive",
    widen_c: float = 2.0,
    widen_alpha: float = 0.8,
    virtual_loss: float = 0.0,
    draw: Draw = "softmax",
    draw_inv_temperature: float | None = None,
    alpha: float = 0.5,
    alpha_visits: float | None = None,
    twist: str | TwistFactory = "flow",
) -> Method:
    """S-ADT as specified: single rollouts, selection by exp(lambda [(1 - alpha) v + alpha F]).

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; each particle counts as one. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        branch_steps: steps of the chain after which states become nodes, or a preset of the process.
        selection: rule that chooses a child: boltzmann, uct, or a rule of your own.
        selection_inv_temperature: beta of Boltzmann selection; lambda if not given. Lower explores more.
        c_uct: exploration constant of uct, in units of the reward.
        widening: rule that says when a node gets another child: progressive, or one of your own.
        widen_c: a node may have widen_c N^widen_alpha children after N visits.
        widen_alpha: exponent of the same rule.
        virtual_loss: weight by which selection counts rollouts in flight against a child, in units of the reward.
        draw: how finished samples are weighted: softmax, argmax or uniform.
        draw_inv_temperature: inverse temperature of the softmax draw; lambda if not given.
        alpha: share of the flow in selection, which reads (1 - alpha) v + alpha F.
        alpha_visits: visits after which half of alpha is left; None for a constant alpha.
        twist: approximation of the soft value: clean, debiased, flow, or a look-ahead of your own.
    """
    return _tree("sadt-tree", locals())


@_method
def tempered(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    particles: int | None = None,
    blocks: int = 1,
    moves: int = 8,
    ess: float = 0.5,
    level_share: float = 0.2,
    acceptance: float = 0.44,
) -> Method:
    """Adaptively tempered SMC over the noises of the chain; subset simulation where a condition must hold.

    Noises z, x_0 = f(z), move from the prior to exp(lambda r(f(z))) in steps of lambda, by preconditioned
    Crank-Nicolson moves (Cotter et al. 2013), and all states are kept (waste-free SMC, Dau & Chopin 2022). Where the
    reward is -inf, levels of its margin lead to where it is not (Au & Beck 2001), if its scorer has a ``margin``.
    Without one, or if 1.5 times the budget finds nothing, the result has no weight.

    Consistent as the budget grows, but not exactly unbiased: levels, their sizes and the sizes of moves adapt. What is
    spent is near the budget, since the number of levels is not known in advance; what was really spent is counted.
    Needs a diffusion prior. No gradient is used.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; a rollout is one run of the whole chain. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        particles: rollouts that make up one run of the sampler; the whole budget if not given. Several runs are
            independent: they are pooled by their estimates of Z, and log Z has a standard error.
        blocks: blocks of noises that are moved in turn; a move of a later block runs the rest of the chain only.
        moves: moves of a chain at each level.
        ess: a step of lambda leaves this share of the particles as effective sample size.
        level_share: share of the particles that reach the next level of a condition that must hold.
        acceptance: acceptance rate that the sizes of the moves aim at.
    """
    return _tempered("tempered", locals())


@_method
def surrogate(
    *,
    inv_temperature: float = 1.0,
    n_rollouts: int | None = None,
    max_nfe: int | None = None,
    until_ess: float | None = None,
    until_se: float | None = None,
    at_once: int | None = None,
    seed: int = 0,
    particles: int | None = None,
    draft_calls: int = 16_384,
    moves: int = 8,
    ess: float = 0.5,
    level_share: float = 0.2,
    acceptance: float = 0.44,
    leapfrog: int = 5,
) -> Method:
    """Tempering of the Gaussian draft of the prior, which costs no evaluation; then its samples run through the prior.

    A denoiser that says how uncertain x_0 is (``clean_spread``) has a Gaussian chain x_0 = a z next to it. ``tempered``
    samples that; n noises that lead to the same places are run through the prior, x_0 = f(z), and weighted by
    exp(lambda (r(f(z)) - r(a z))). The nearer the prior is to its draft, the more even the weights; only these n runs
    cost evaluations. Raises ValueError for a prior without a draft.

    A condition that must hold is tempered on the draft with a slack: twice the spread between the margins of draft and
    prior, from a pilot of an eighth of the runs. Weights are 0 where the prior violates it. What the prior satisfies
    while its draft misses the condition by more than the slack is missed: log Z is then low. Without a ``margin`` there
    is no slack. Else consistent, but not exactly unbiased.

    Args:
        inv_temperature: lambda of the target p(x_0) exp(lambda r(x_0)) / Z.
        n_rollouts: budget in rollouts per problem; a rollout is one run of the whole chain. 200 if no budget is given.
        max_nfe: budget in function evaluations per problem.
        until_ess: stop a problem early at this effective sample size.
        until_se: stop a problem early at this standard error of log Z, in nats.
        at_once: problems searched at once; None for all in turn.
        seed: every random number follows from it.
        particles: rollouts that make up one run of the sampler; the whole budget if not given. Several runs are
            independent: they are pooled by their estimates of Z, and log Z has a standard error.
        draft_calls: reward calls, about, of tempering the draft, and as many again for the slack of a condition.
        moves: moves of a chain at each level.
        ess: a step of lambda leaves this share of the particles as effective sample size.
        level_share: share of the particles that reach the next level of a condition that must hold.
        acceptance: acceptance rate that the sizes of Crank-Nicolson moves aim at.
        leapfrog: leapfrog steps of a Hamiltonian move, for a reward with a gradient; 0 for Crank-Nicolson moves alone.
    """
    return _tempered("surrogate", locals(), surrogate=True)


METHODS: dict[str, Callable[..., Method]] = {
    "prior": prior,
    "best-of-n": best_of_n,
    "snis": snis,
    "dts": dts,
    "dts-late": dts_late,
    "dts-star": dts_star,
    "fk": fk,
    "tds": tds,
    "dps": dps,
    "smc-debiased": smc_debiased,
    "tempered": tempered,
    "surrogate": surrogate,
    "sweep": sweep,
    "sadt": sadt,
    "sadt-tree": sadt_tree,
}


def method_function(name: str) -> Callable[..., Method]:
    """The function that makes a method: one of ``METHODS``, or a function of your own, ``module:function``.

    Raises ValueError for a name that does not exist, naming those that do.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" in name:
        return load_function(name, "method")
    raise ValueError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}, or module:function")


def method_named(name: str, **settings: Any) -> Method:
    """A method by name, with its parameters. Raises ValueError for an unknown name, TypeError for a parameter that the
    method does not have."""
    method = method_function(name)(**settings)
    if not isinstance(method, Method):
        raise ValueError(f"{name} returned {method!r}, not a sadt_ray.Method")
    return method


def parameters_of(name: str) -> frozenset[str]:
    """The names of a method's parameters."""
    return frozenset(signature(method_function(name)).parameters)


_DEFAULT_ROLLOUTS = 200
_PARTICLES = 64  # of a method whose size is not known yet
_LARGEST_SYSTEM = 256
_SMALLEST_TREE = 8  # particle systems
_SMC_SETTINGS = {each.name for each in fields(SMCConfig)}
_TEMPERING_SETTINGS = {each.name for each in fields(Tempering)}


def _independent(name: str, draw: Draw, settings: Mapping[str, Any]) -> Method:
    return Method(name, "none", SearchConfig(**_with_budget(settings), draw=draw, widen_c=math.inf))


def _tree(name: str, settings: Mapping[str, Any]) -> Method:
    given = _with_budget(settings)
    branch_steps, twist = given.pop("branch_steps"), given.pop("twist", None)
    smc = PLAIN_ROLLOUT if twist is None else SMCConfig(twist=twist)
    return Method(name, branch_steps, SearchConfig(**given), smc)


def _particles(name: str, settings: Mapping[str, Any], few: bool = False, **fixed: Any) -> Method:
    """Particle systems whose particles count as rollouts: as few systems, and as large ones, as make up the budget.

    Args:
        few: whether too few systems for a tree all start at the root; methods that have no ``branch_steps`` always do.
    """
    given = {**settings, **fixed}
    if given["n_rollouts"] is None and given["max_nfe"] is not None:

        def sized(count: int) -> Method:
            return _particles(name, {**settings, "n_rollouts": count, "max_nfe": None}, few, **fixed)

        return _of_unknown_size(sized, given["max_nfe"])
    given = _with_budget(given)
    smc = {key: given.pop(key) for key in _SMC_SETTINGS & given.keys()}
    sizes = [siblings_per_parent(smc.get(scheme) or "") for scheme in ("resampling", "record_resampling")]
    multiple = smc.get("split_factor", 1) * math.lcm(*sizes)
    count, smc["particles"] = split_rollouts(given["n_rollouts"], smc["particles"], multiple)
    branch_steps = given.pop("branch_steps", "none")
    if branch_steps is None:
        branch_steps = "none" if few and count < _SMALLEST_TREE else "start"
    if "widen_c" not in given or branch_steps == "none":  # all start at the root
        given |= {"widen_c": math.inf, "alpha": 0.0}
    return Method(name, branch_steps, SearchConfig(**{**given, "n_rollouts": count}), SMCConfig(**smc))


def _tempered(name: str, settings: Mapping[str, Any], surrogate: bool = False) -> Method:
    """Tickets that are whole runs of tempered SMC; a rollout is one run of the chain."""
    given = dict(settings)
    if given["n_rollouts"] is None and given["max_nfe"] is not None:

        def sized(count: int) -> Method:
            return _tempered(name, {**settings, "n_rollouts": count, "max_nfe": None}, surrogate)

        return _of_unknown_size(sized, given["max_nfe"])
    given = _with_budget(given)
    tempering = Tempering(surrogate, **{key: given.pop(key) for key in _TEMPERING_SETTINGS & given.keys()})
    count, particles = split_rollouts(given["n_rollouts"], given.pop("particles") or given["n_rollouts"])
    search = SearchConfig(**{**given, "n_rollouts": count, "widen_c": math.inf})
    return Method(name, "none", search, SMCConfig(particles=particles, tempering=tempering))


def _of_unknown_size(sized: Callable[[int], Method], max_nfe: int) -> Method:
    """A method whose budget is in function evaluations, before it is known what a rollout costs."""
    method = sized(_PARTICLES)
    return replace(method, search=replace(method.search, n_rollouts=None, max_nfe=max_nfe), sized=sized)


def _with_budget(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With the default budget if none is given."""
    if settings["n_rollouts"] is None and settings["max_nfe"] is None:
        return {**settings, "n_rollouts": _DEFAULT_ROLLOUTS}
    return dict(settings)


def split_rollouts(rollouts: int, particles: int | None = None, multiple: int = 1) -> tuple[int, int]:
    """Number of particle systems, and particles of each, that make up so many rollouts or a few less; at least one.

    Args:
        particles: per system, if it is decided; else systems are few and large, and of a multiple of ``multiple``.
    """
    if particles is not None:
        return max(rollouts // max(particles, 1), 1), particles
    count = -(-rollouts // _LARGEST_SYSTEM)
    return count, max(rollouts // count // multiple, 1) * multiple
