"""What ``python -m jobs.search`` can be told, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jobs.execution import Execution
from sadt_ray.methods import METHODS, Method, method_named

_DEFAULT_ROLLOUTS = 500


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
    method: tuple[str, ...] = ("prior", "best-of-n", "snis", "dts", "dts-late")
    """One or more of: prior, best-of-n, snis, dts, dts-late, dts-star."""
    n_rollouts: int | None = None
    """Budget in rollouts per context. Without any budget: the evaluations of 500 prior samples, for every method."""
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


def build_methods(job: SearchJob, num_steps: int) -> list[Method]:
    """The methods of a job with their settings. Raises ValueError for a name that does not exist or a bad setting."""
    max_nfe = job.max_nfe
    if job.n_rollouts is None and max_nfe is None:
        max_nfe = _DEFAULT_ROLLOUTS * num_steps
    shared: dict[str, Any] = {
        "inv_temperature": job.resolved_inv_temperature(),
        "n_rollouts": job.n_rollouts,
        "max_nfe": max_nfe,
        "seed": job.seed,
    }
    names = ("selection_inv_temperature", "c_uct", "widen_c", "widen_alpha", "virtual_loss")
    tree = {name: getattr(job, name) for name in names if getattr(job, name) is not None}
    if job.branch_steps:
        tree["branch_steps"] = job.branch_steps
    methods = []
    for name in sorted(dict.fromkeys(job.method), key=lambda name: name != "prior"):  # others are compared with it
        methods.append(method_named(name, **shared, **(tree if name.startswith("dts") else {})))
    return methods
