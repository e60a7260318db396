"""The contract between a language model, with or without series, and the chain over its tokens."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sadt_ray.processes.language.prompt import Prompt


@runtime_checkable
class LanguageModel(Protocol):
    """A frozen causal language model that can be asked a ``Prompt``.

    Attributes:
        network: of ``transformers``, with its head: it takes ``inputs_embeds`` or ``input_ids``, ``position_ids``,
            ``past_key_values`` and 4-D masks, as ``PreTrainedModel``s for causal language modelling do.
        tokenizer: of ``transformers``.
        forced: tokens that every generated text begins with: BOS for OpenTSLM, which was trained so; nothing else.

    A model whose ``condition`` does nothing may say so, by an attribute ``one_prompt_at_a_time`` that is False: texts
    of several prompts are then evaluated together. One that cannot read every prompt may have a ``check``, which raises
    a ValueError for such a prompt and evaluates nothing: questions are then refused before the first is asked.
    """

    network: Any
    tokenizer: Any
    forced: tuple[int, ...]

    def embed(self, prompt: Prompt) -> Float[Tensor, "1 P H"]:
        """The prompt as input embeddings. Raises ValueError naming what does not fit the model."""

    def condition(self, prompt: Prompt) -> None:
        """Make the following evaluations of ``network`` belong to this prompt (Flamingo's cross-attention reads its
        series; a soft prompt has all of it in its embeddings). Cheap for the prompt that was asked last."""
