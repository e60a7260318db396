"""A causal language model as a prior: the ``GenerativeProcess`` whose samples are texts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.chain import TextChain
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prior import TokenLaw

_ANSWERS = ("enumerated", "sampled")


@dataclass(frozen=True)
class Loader:
    """How to load a model: a function that can be pickled, and its arguments. Each worker loads its own replica."""

    function: Callable[..., LanguageModel]
    arguments: Mapping[str, Any] = field(default_factory=dict)


class CausalLMProcess:
    """Texts of a frozen causal language model, conditioned on a ``Prompt``.

    A state is an int32 row of the tokens so far, padded with -1. Immutable: the ``with_`` methods return another
    process.

    Args:
        model: the model, or a ``Loader`` of it. A loader is called when the model is first needed, and is sent to
            workers instead of the model.
        max_tokens: longest text, forced tokens included; a text that reaches it is a sample as it is.
        blocks: steps of the chain; the name of what ends a block is enough.
        sampling_temperature, top_k, top_p: the law of a token, see ``TokenLaw``. They are part of the prior.
        answers: ``"enumerated"``: a text is at x_0 when it has announced its answer, and ``complete`` enumerates the
            answers with their probabilities. ``"sampled"``: the answer is drawn like the rest of the text.
        branch_steps: steps that become nodes of the tree, or the name of a preset; see ``Blocks.branch_steps``.
        memory_limit: bytes of cached prompts and nodes per replica, beside the rows in use.
        rows_at_once: most rows that are evaluated together.
        enumerated: most tokens that ``children`` lists.
        device: device of the model; None leaves it where it is.

    Raises ValueError for an unknown value of ``answers``, ``blocks`` or ``branch_steps``, or a number below 1.
    """

    def __init__(
        self,
        model: LanguageModel | Loader,
        *,
        max_tokens: int,
        blocks: Blocks | str = "sentence",
        sampling_temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        answers: str = "enumerated",
        branch_steps: Sequence[int] | str = "published",
        memory_limit: int = 1 << 30,
        rows_at_once: int = 128,
        enumerated: int = 32,
        device: str | None = None,
    ) -> None:
        if answers not in _ANSWERS:
            raise ValueError(f"answers are {' or '.join(_ANSWERS)}, not {answers!r}")
        if max_tokens < 1 or rows_at_once < 1:
            raise ValueError(f"max_tokens {max_tokens} and rows_at_once {rows_at_once} must be at least 1")
        self.max_tokens, self.answers = max_tokens, answers
        self.blocks = Blocks(blocks) if isinstance(blocks, str) else blocks
        self.law = TokenLaw(sampling_temperature, top_k, top_p)
        self.branch_steps = self.blocks.branch_steps(branch_steps)
        self.memory_limit, self.rows_at_once, self.enumerated = memory_limit, rows_at_once, enumerated
        self._replica = _Replica(model, device)

    @property
    def model(self) -> LanguageModel:
        """The language model; loaded on first use."""
        return self._replica.model

    @property
    def num_levels(self) -> int:
        return len(self.branch_steps)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.max_tokens,)

    @property
    def state_dtype(self) -> np.dtype:
        return np.dtype(np.int32)

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> CausalLMProcess:
        """The same prior with other branch steps; see ``Blocks.branch_steps``."""
        return self._with(branch_steps=self.blocks.branch_steps(branch_steps))

    def with_law(self, **changes: Any) -> CausalLMProcess:
        """Another prior of the same model: ``changes`` are fields of ``TokenLaw``."""
        return self._with(law=replace(self.law, **changes))

    def with_answers(self, answers: str) -> CausalLMProcess:
        """The same prior with its answers ``"enumerated"`` or ``"sampled"``."""
        if answers not in _ANSWERS:
            raise ValueError(f"answers are {' or '.join(_ANSWERS)}, not {answers!r}")
        return self._with(answers=answers)

    def with_device(self, device: str) -> CausalLMProcess:
        """The same prior with a copy of its model on another device; the process itself if it uses that device."""
        if device == self._replica.device:
            return self
        return self._with(_replica=_Replica(self._replica.source, device))

    def bind(self, problems: Sequence[Problem]) -> TextChain:
        """Bind to problems. Prompts are evaluated on first use. Raises ValueError naming a problem without a prompt."""
        if not problems:
            raise ValueError("bind got no problems; give at least one")
        return TextChain(self, problems)

    def _with(self, **changes: Any) -> CausalLMProcess:
        other = copy.copy(self)
        vars(other).update(changes)
        return other


class _Replica:
    """A model on a device, loaded on first use and shared by processes. It is not pickled."""

    def __init__(self, source: LanguageModel | Loader, device: str | None) -> None:
        self.source, self.device = source, device
        self._model: LanguageModel | None = None

    @property
    def model(self) -> LanguageModel:
        if self._model is None:
            self._model = self._made()
        return self._model

    def _made(self) -> LanguageModel:
        loaded = isinstance(self.source, Loader)
        model: Any = self.source.function(**self.source.arguments) if isinstance(self.source, Loader) else self.source
        if self.device is None:
            return model
        model = model if loaded else copy.deepcopy(model)
        (model if hasattr(model, "to") else model.network).to(self.device)  # without "to", move the network
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_model": None}
