"""What ``python -m jobs.search`` can be told, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jobs.execution import Execution
from sadt_ray.methods import FLOWN_TREES, METHODS, SWEEPS, TREES, Method, method_named

_DEFAULT_ROLLOUTS = 500
_FAMILIES = "families-8"


@dataclass(frozen=True)
class SearchJob:
    """What to search, how long, and where the results go."""

    backbone: str = "diff-k"
    """Prior: diff-k, the diffusion forecaster."""
    dataset: str | None = None
    """ETTh1 (the default), synthetic, or a name for the --data-file, which else is called after the file."""
    data_file: Path | None = None
    """A CSV of ETTh1's shape: a date column, then one numeric column a channel."""
    checkpoint: Path | None = None
    """Weights written by `python -m jobs.train prior`; the shipped ones by default."""
    method: tuple[str, ...] = ("prior", "best-of-n", "snis", "dts", "dts-late", "smc-debiased", "sadt")
    """One or more of: prior, best-of-n, snis, dts, dts-late, dts-star; in sweeps of particles: fk, tds, dps,
    smc-debiased, sweep, sadt; and sadt-tree."""
    n_rollouts: int | None = None
    """Budget in rollouts, or particles, per context. Without any: the evaluations of 500 prior samples, all looks of a
    sweep included."""
    max_nfe: int | None = None
    """Budget in denoiser evaluations per context."""
    inv_temperature: float | None = None
    """lambda of the target p(x) exp(lambda r(x)); 50 by default."""
    temperature: float | None = None
    """The same as 1/lambda."""
    reward: str = "second-opinion"
    """The task: none, second-opinion, limit:max<1.5, module:function, or a sum such as 'none + 2*limit:max<1'."""
    spectral_weight: Annotated[float, tyro.conf.arg(aliases=["--spectral-gamma", "--spectral_gamma"])] = 1.0
    """Weight of the spectral reward -mean|log S_x - log S_context|, added to the task; 0 leaves it out."""
    split: str = "test"
    """Part of the series that windows are taken from: train, val, test, or latest: forecast beyond the last row."""
    windows: tuple[int, ...] = ()
    """Windows by number (stride 48); by default --num-windows of them, spread over the part."""
    num_windows: int = 4
    """How many windows, if none is named."""
    channels: tuple[str, ...] = ()
    """Channels by name; all by default."""
    branch_steps: tuple[int, ...] = ()
    """Denoising steps after which dts, dts-late and dts-star make a node, the last being the number of steps."""
    selection_inv_temperature: float | None = None
    """Inverse temperature of selection; by default lambda for dts, lambda / 2 for dts-late. Lower explores more."""
    c_uct: float | None = None
    """Exploration constant of dts-star, in units of the reward; 1 by default."""
    widen_c: float | None = None
    """A node may have widen_c N^widen_alpha children; 2 by default."""
    widen_alpha: float | None = None
    """See widen_c; by default .8 for dts and dts-star, .5 for dts-late."""
    virtual_loss: float | None = None
    """Weight, in units of the reward, by which selection holds rollouts in flight against a child; 0 by default."""
    flow: Path | None = None
    """F_phi for sweep, sadt and sadt-tree, as `python -m jobs.train flow` writes it; by default the one that ships for
    the shipped prior and the default reward, else they look ahead by the reward's own r~."""
    learn: bool = False
    """Train the flow beside the search on what that finds, and use every better version; --flow guides until then."""
    buffer_path: tuple[Path, ...] = ()
    """Runs, or directories of trajectories, that a learner reads beside this run's own; rows of other windows and
    channels are left out."""
    particles: int | None = None
    """Of a sweep; by default as few and large ones as make up the budget, up to 256."""
    harvest: bool = False
    """Record every particle, in families of 8 siblings, for `python -m jobs.train flow`."""
    alpha: float | None = None
    """Share of the flow in selection: exp(lambda [(1 - alpha) v + alpha F]); 1/2 for sadt-tree, 1 for sadt."""
    alpha_visits: float | None = None
    """With k: alpha k / (k + visits), so that the flow leads where little is known; by default alpha stays."""
    until_ess: float | None = None
    """Stop a context before its budget once its effective sample size has come this far."""
    until_se: float | None = None
    """Stop a context before its budget once the standard error of log Z is as small as this, nats."""
    seed: int = 0
    """Every random number follows from it."""
    out: Path | None = None
    """Run directory; runs/search/DATE-TIME by default."""
    report: bool = True
    """Write report.html and plots/."""
    trajectories: bool = True
    """Write trajectories/, every node of every tree with its state: 400 bytes a node."""
    resume: str | None = None
    """Go on with a run that was stopped: its directory, or the address of its checkpoints. It keeps its settings."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)

    def __post_init__(self) -> None:
        lam = self.resolved_inv_temperature()
        if not 0 < lam < math.inf:
            raise ValueError(f"the inverse temperature must be a positive number, got {lam}")
        if not self.method:
            raise ValueError(f"no method is given; name one or more of {', '.join(METHODS)}")

    def resolved_inv_temperature(self) -> float:
        """lambda from either flag. Raises ValueError if both are given or the temperature is not positive."""
        if self.temperature is None:
            return 50.0 if self.inv_temperature is None else self.inv_temperature
        if self.inv_temperature is not None:
            raise ValueError("give --inv-temperature or --temperature, not both")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        return 1 / self.temperature

    def settings(self) -> dict[str, Any]:
        """What the results follow from: all but where, when and whether something is run and written."""
        beside = ("execution", "resume", "out", "report")
        return {name: value for name, value in asdict(self).items() if name not in beside}


def build_methods(job: SearchJob, num_steps: int, fit: Fit) -> list[Method]:
    """The methods of a job with their settings.

    Args:
        num_steps: evaluations of a rollout that looks at nothing.
        fit: finds the rollouts that so many evaluations pay for, see ``affordable``.

    Raises ValueError for a name that does not exist or a bad setting.
    """
    names = sorted(dict.fromkeys(job.method), key=lambda name: name != "prior")  # others are compared with it
    return [_build_method(name, job, num_steps, fit) for name in names]


Fit = Callable[[Callable[[int], Method], int], Method]


def _build_method(name: str, job: SearchJob, num_steps: int, fit: Fit) -> Method:
    max_nfe = job.max_nfe
    if job.n_rollouts is None and max_nfe is None:
        max_nfe = _DEFAULT_ROLLOUTS * num_steps
    settings: dict[str, Any] = {"inv_temperature": job.resolved_inv_temperature(), "seed": job.seed}
    settings |= _given(job, "until_ess", "until_se")
    if name in SWEEPS:
        settings |= _given(job, "particles") | _harvest(job)
    else:
        settings |= {"n_rollouts": job.n_rollouts, "max_nfe": max_nfe}
    if name in TREES:
        settings |= _given(job, "selection_inv_temperature", "c_uct", "widen_c", "widen_alpha", "virtual_loss")
        settings |= {"branch_steps": job.branch_steps} if job.branch_steps else {}
    if name in FLOWN_TREES:
        settings |= _given(job, "alpha", "alpha_visits")
    if name not in SWEEPS:
        return method_named(name, **settings)
    if job.n_rollouts is not None:
        return method_named(name, n_rollouts=job.n_rollouts, **settings)
    assert max_nfe is not None
    return fit(lambda count: method_named(name, n_rollouts=count, **settings), max_nfe)


def _given(job: SearchJob, *names: str) -> dict[str, Any]:
    """Flags that were given."""
    return {name: getattr(job, name) for name in names if getattr(job, name) is not None}


def _harvest(job: SearchJob) -> dict[str, Any]:
    """A learner needs some of the sweeps; all of them in families would cost the search more than they teach."""
    if job.harvest:
        return {"harvest": True, "harvest_resampling": _FAMILIES}
    return {"harvest": True, "harvest_resampling": _FAMILIES, "harvest_share": 0.25} if job.learn else {}
