"""The contract between a language model and the chain over its tokens."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sadt_ray.processes.language.prompt import Prompt


@runtime_checkable
class LanguageModel(Protocol):
    """A frozen causal language model that answers a ``Prompt``.

    Attributes:
        network: a network of ``transformers`` with its head. It takes ``inputs_embeds`` or ``input_ids``,
            ``position_ids``, ``past_key_values`` and 4-D masks, as each ``PreTrainedModel`` for causal language
            modelling does.
        tokenizer: a tokenizer of ``transformers``.
        forced: tokens that each generated text begins with: BOS for OpenTSLM, which was trained with it.

    Two attributes are optional. ``one_prompt_at_a_time`` = False says that ``condition`` does nothing, so that texts of
    several prompts may be evaluated together. ``check(prompt)`` raises ValueError for a prompt that the model cannot
    read, without evaluating anything, so that such a question is refused before the search.
    """

    network: Any
    tokenizer: Any
    forced: tuple[int, ...]

    def embed(self, prompt: Prompt) -> Float[Tensor, "1 P H"]:
        """The prompt as input embeddings. Raises ValueError naming what does not fit the model."""

    def condition(self, prompt: Prompt) -> None:
        """Condition the following evaluations of ``network`` on this prompt. The cross-attention of Flamingo reads its
        series; a soft prompt has everything in its embeddings. Cheap if the prompt is the same as before."""
