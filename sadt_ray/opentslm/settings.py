"""The settings of a stage: everything that its answers follow from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sadt_ray.opentslm.methods import stage_methods
from sadt_ray.opentslm.stage_spec import StageSpec, stage_spec


@dataclass(frozen=True)
class StageSettings:
    """Which questions, which model, which methods and which reward.

    Raises ValueError for an unknown stage or method, a count below 1, or an inverse temperature that is not positive.
    """

    stage: str
    """The stage: 1 or tsqa, 2 or m4 (captions), 3 or har, 4 or sleep, 5 or ecg."""
    checkpoint: str | None = None
    """OpenTSLM: a hub id, a directory or a file. By default a tiny stand-in, trained on this machine if necessary."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    base: str | None = None
    """The language model under the checkpoint, if not the published one: a hub id or a directory."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the language model."""
    compile: bool = False
    """Evaluate the network through torch.compile."""
    data_file: Path | None = None
    """Questions of your own in the stage's published format; by default the stage's own data."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Part of the data: test by default, all of a data file. A file without parts of its own is split by source."""
    num_examples: int | None = None
    """Number of questions, spread over the split; 32 by default, and all of a data file."""
    method: tuple[str, ...] = ("greedy", "self-consistency", "answer-vote", "sadt")
    """One or more of: greedy, sample, self-consistency, answer-vote, best-of-n, dts, dts-star, sadt."""
    n_rollouts: int = 8
    """Rationales per question."""
    reward: str = "default"
    """A sum such as 'format + 0.5*spectral-label'; label-free by default, see docs/opentslm.md."""
    inv_temperature: float = 1.0
    """lambda of the target p(x) exp(lambda r(x))."""
    spectral_weight: float = 1.0
    """Weight of the spectral term in the default reward; 0 leaves it out."""
    verifier: Path | None = None
    """Directory of `python -m jobs.train verifier`, for rewards such as 'verifier + -1*agreement'."""
    sampling_temperature: float = 1.0
    """Sampling temperature of the prior's tokens; greedy always takes the most probable token."""
    top_k: int | None = None
    """Keep this many of the most probable tokens of the prior."""
    top_p: float | None = None
    """Keep the most probable tokens up to this probability mass."""
    max_tokens: int | None = None
    """Longest text in tokens; by default what the stage's answers need."""
    blocks: Literal["sentence", "line", "tokens"] = "sentence"
    """What ends a step of the chain. The tree may branch after each step."""
    block_tokens: int = 32
    """Longest block in tokens; with blocks of tokens, the length of each."""
    num_blocks: int = 6
    """Steps of the chain; everything after the last block but one is one step."""
    branch_steps: tuple[int, ...] = ()
    """Steps after which dts and dts-star make a node, the last being num_blocks; after each block by default."""
    widen_c: float | None = None
    """A node may have widen_c N^widen_alpha children after N visits; 2 by default."""
    widen_alpha: float | None = None
    """Exponent of the same rule; .8 by default."""
    entropy_profile: bool = False
    """Measure where in a text its answer is decided: H(answer | text so far), sentence by sentence, on 16 questions."""
    seed: int = 0
    """Every random number follows from it, and the choice of the stand-in."""

    def __post_init__(self) -> None:
        stage_spec(self.stage)
        stage_methods(self.method)
        for name in ("num_examples", "n_rollouts", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < self.inv_temperature < math.inf:
            raise ValueError(f"the inverse temperature must be a positive number, got {self.inv_temperature}")

    @property
    def spec(self) -> StageSpec:
        """The stage's row of the table in ``stage_spec``."""
        return stage_spec(self.stage)

    def as_recorded(self) -> dict[str, Any]:
        """The settings as config.json records them, with the number and the name of the stage."""
        return {**asdict(self), "stage": self.spec.number, "stage_name": self.spec.name}
