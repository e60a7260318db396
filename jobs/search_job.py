"""What ``python -m jobs.search`` can be told, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jobs.execution import Execution
from sadt_ray.methods import METHODS, Method, method_named, parameters_of

_DEFAULT_ROLLOUTS = 500
_SIBLINGS = "siblings-8"


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
    smc-debiased, sweep, sadt; and sadt-tree. Or module:function, a method of your own."""
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
    selection: str | None = None
    """Rule that chooses a child: boltzmann, uct, or module:function, a rule of your own; by default uct for dts-star,
    boltzmann for the others."""
    selection_inv_temperature: float | None = None
    """Inverse temperature of selection; by default lambda for dts, lambda / 2 for dts-late. Lower explores more."""
    c_uct: float | None = None
    """Exploration constant of dts-star, in units of the reward; 1 by default."""
    widening: str | None = None
    """Rule that says when a node gets another child: progressive (the default), or module:function, a rule of your
    own."""
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
    twist: str | None = None
    """Look-ahead that guides particles: clean, debiased, flow, or module:function, one of your own; flow by default."""
    resampling: str | None = None
    """Resampling of particles: multinomial, stratified, systematic (the default), residual, siblings-K, or
    module:function, a scheme of your own."""
    record_particles: Annotated[bool, tyro.conf.arg(aliases=["--harvest"])] = False
    """Record every particle, in groups of 8 siblings, for `python -m jobs.train flow`."""
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


_METHOD_FLAGS = (
    "until_ess", "until_se", "particles", "branch_steps", "selection", "selection_inv_temperature", "c_uct", "widening",
    "widen_c", "widen_alpha", "virtual_loss", "alpha", "alpha_visits", "twist", "resampling",
)  # fmt: skip


def build_methods(job: SearchJob, num_steps: int) -> list[Method]:
    """The methods of a job with their settings; each flag goes to those that have a parameter of its name.

    Args:
        num_steps: evaluations of a rollout that looks at nothing.

    Raises ValueError for a name that does not exist, a bad setting, or a flag that none of the methods uses.
    """
    names = sorted(dict.fromkeys(job.method), key=lambda name: name != "prior")  # others are compared with it
    given = {name: getattr(job, name) for name in _METHOD_FLAGS if getattr(job, name) not in (None, ())}
    unused = [name for name in given if not any(name in parameters_of(method) for method in names)]
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ValueError(
            f"none of the methods {', '.join(names)} uses {flags}; leave it out, or name a method that does"
        )
    max_nfe = job.max_nfe
    if job.n_rollouts is None and max_nfe is None:
        max_nfe = _DEFAULT_ROLLOUTS * num_steps
    given |= {"inv_temperature": job.resolved_inv_temperature(), "seed": job.seed}
    given |= {"n_rollouts": job.n_rollouts, "max_nfe": max_nfe} | _recording(job)
    return [method_named(name, **{key: given[key] for key in given.keys() & parameters_of(name)}) for name in names]


def _recording(job: SearchJob) -> dict[str, Any]:
    """A learner needs some of the tickets; to record all of them with siblings would cost the search more than it
    teaches."""
    if job.record_particles:
        return {"record_particles": True, "record_resampling": _SIBLINGS}
    return {"record_particles": True, "record_resampling": _SIBLINGS, "record_share": 0.25} if job.learn else {}
