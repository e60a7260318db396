"""What the parts of a text chain need of each other, so that none has to import the whole.

``CausalLMProcess`` is the ``TextPrior``. ``TextChain`` is the ``TextsInProgress`` that its completer and its walks use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt64

from sadt_ray.interfaces import States
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.decoder import Decoder
from sadt_ray.processes.language.drawing import Row
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prior import TokenLaw
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.processes.language.texts import Texts


@runtime_checkable
class TextPrior(Protocol):
    """The settings that a chain reads from its process; see ``CausalLMProcess`` for their meaning."""

    max_tokens: int
    answers: str
    blocks: Blocks
    law: TokenLaw
    branch_steps: tuple[int, ...]
    memory_limit: int
    rows_at_once: int
    enumerated: int

    @property
    def model(self) -> LanguageModel: ...

    @property
    def num_levels(self) -> int: ...


@runtime_checkable
class TextsInProgress(Protocol):
    """A chain over texts, as its completer and its walks use it."""

    process: TextPrior
    model: LanguageModel
    texts: Texts
    prompts: list[Prompt]  # of each problem
    decoder: Decoder

    def draw(
        self,
        states: States,
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
        steps: Int[np.ndarray, " B"],
        stops: Int[np.ndarray, " B"],
        every_step: bool = False,
    ) -> list[Row]:
        """Continue each text from step ``steps`` of the chain to step ``stops``, or to its end."""

    def states_of(self, rows: Sequence[Row]) -> States:
        """States of drawn rows."""

    def drawn(self, states: States, rows: Sequence[Row]) -> Int[np.ndarray, " B"]:
        """Number of tokens that each row has beyond its state in ``states``."""

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """The last hidden state at the last token of each text."""

    def tokens_of(self, state: np.ndarray) -> tuple[int, ...]:
        """Tokens of a state after the forced ones."""

    def tail(self, problem: int, text: str) -> str | None:
        """The part of a text after the marker of its answer; None if it has not announced one."""
