"""What ``python -m jobs.search --stage N`` can be told, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jobs.execution import Execution
from jobs.stages.methods import stage_methods
from sadt_ray.opentslm.stage_spec import StageSpec, stage_spec

ROWS_AT_ONCE = 64
"""Tickets of a batch: what one replica evaluates together."""


@dataclass(frozen=True)
class StageJob:
    """Which questions, which model, which methods, and where the results go."""

    stage: str | None = None
    """1 or tsqa, 2 or m4 (captions), 3 or har, 4 or sleep, 5 or ecg."""
    checkpoint: str | None = None
    """OpenTSLM: a hub id, a directory or a file. Without one a tiny stand-in, trained on this machine if need be."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    base: str | None = None
    """The language model under the checkpoint, if not the published one: a hub id or a directory."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the language model."""
    compile: bool = False
    """Evaluate the network through torch.compile."""
    data_file: Path | None = None
    """Questions of your own in the stage's published format; by default the stage's own data."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Part of the data: test by default, all of a --data-file. Files without parts of their own are split by source."""
    num_examples: int | None = None
    """How many questions, spread over the split; by default 32, and all of a --data-file."""
    method: tuple[str, ...] = ("greedy", "self-consistency", "answer-vote", "sadt")
    """One or more of: greedy, sample, self-consistency, answer-vote, best-of-n, dts, dts-star, sadt."""
    n_rollouts: int = 8
    """Rationales per question."""
    reward: str = "default"
    """A sum such as 'format + 0.5*spectral-label'; label-free by default, see docs/opentslm.md."""
    inv_temperature: float = 1.0
    """lambda of the target p(x) exp(lambda r(x))."""
    spectral_weight: Annotated[float, tyro.conf.arg(aliases=["--spectral-gamma", "--spectral_gamma"])] = 1.0
    """Weight of the spectral term in the default reward; 0 leaves it out."""
    verifier: Path | None = None
    """Directory of `python -m jobs.train verifier`, for rewards such as 'verifier + -1*agreement'."""
    sampling_temperature: float = 1.0
    """Of the prior's tokens; greedy takes the likeliest whatever this is."""
    top_k: int | None = None
    """Keep so many tokens of the prior."""
    top_p: float | None = None
    """Keep the likeliest tokens up to this mass."""
    max_tokens: int | None = None
    """Of a text; by default what the stage's answers need."""
    blocks: Literal["sentence", "line", "tokens"] = "sentence"
    """What ends a step of the chain, after which the tree may branch."""
    block_tokens: int = 32
    """The most tokens of a block; exactly as many of --blocks tokens."""
    num_blocks: int = 6
    """Steps of the chain: all after so many blocks is one."""
    branch_steps: tuple[int, ...] = ()
    """Steps after which dts and dts-star make a node, the last being --num-blocks; after every block by default."""
    widen_c: float | None = None
    """A node may have widen_c N^widen_alpha children; 2 by default."""
    widen_alpha: float | None = None
    """See widen_c; .8 by default."""
    entropy_profile: bool = False
    """Measure on some questions where a text decides its answer: H(answer | text so far), sentence by sentence."""
    seed: int = 0
    """Every random number follows from it; also which stand-in."""
    out: Path | None = None
    """Run directory; runs/stages/DATE-TIME by default."""
    report: bool = True
    """Write report.html and plots/."""
    trajectories: bool = False
    """Write trajectories/, every node of every tree with its state."""
    resume: str | None = None
    """Go on with a run that was stopped: its directory. It keeps its settings."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.stage is not None:
            stage_spec(self.stage)
        elif self.resume is None:
            raise ValueError("which stage? give --stage 1 to 5")
        stage_methods(self.method)
        for name in ("num_examples", "n_rollouts", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < self.inv_temperature < math.inf:
            raise ValueError(f"the inverse temperature must be a positive number, got {self.inv_temperature}")

    @property
    def spec(self) -> StageSpec:
        assert self.stage is not None, "a job that resumes takes its stage from the run"
        return stage_spec(self.stage)

    def settings(self) -> dict[str, Any]:
        """What the results follow from: all but where, when and whether something is run and written."""
        beside = ("execution", "resume", "out", "report")
        settings = {name: value for name, value in asdict(self).items() if name not in beside}
        return {**settings, "stage": self.spec.number, "stage_name": self.spec.name}

    def searches(self) -> list[tuple[Any, Any]]:
        """Every method with its search."""
        shared = {"inv_temperature": self.inv_temperature, "seed": self.seed}
        return [(method, method.search(self.n_rollouts, **shared, **self._tree(method))) for method in self.methods]

    @property
    def methods(self) -> list[Any]:
        return stage_methods(self.method)

    def _tree(self, method: Any) -> dict[str, Any]:
        if method.flat:
            return {}
        given = {name: getattr(self, name) for name in ("widen_c", "widen_alpha")}
        tree = {name: value for name, value in given.items() if value is not None}
        return tree | ({"branch_steps": self.branch_steps} if self.branch_steps else {})
