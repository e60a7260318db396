"""The log-likelihood of whole texts under a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.completing import LOGITS_AT_ONCE
from sadt_ray.processes.language.prefix import Prefix, prefill
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.processes.language.texts import Texts


@dataclass(frozen=True)
class TextScoring:
    """log p(text | prompt) = sum_i log p(token_i | prompt, tokens before) under the model of a process.

    A text is tokenized anew. It includes the end token if its prompt lets it end there (captions, answers that come
    last). Sampling temperature, top-k and top-p are not applied: they belong to the prior's way of drawing.

    Attributes:
        process: the process with the model. It is pickled without it.
    """

    process: CausalLMProcess

    @torch.inference_mode()
    def __call__(self, prompt: Prompt, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """log p of each text in nats, [n] float64, and its number of tokens, [n] int64."""
        model = self.process.model
        cut, end = Texts(model), model.tokenizer.eos_token_id
        last = (end,) if prompt.ends or not prompt.answers else ()
        tokens = [(*cut.tokens(text), *last) for text in texts]
        model.condition(prompt)
        prefix = prefill(model, prompt)
        size = min(self.process.rows_at_once, self._rows_that_fit(max(map(len, tokens), default=1)))
        parts = [self._log_probs(prefix, tokens[first : first + size]) for first in range(0, len(tokens), size)]
        return np.concatenate(parts), np.array([len(row) for row in tokens], np.int64)

    def _rows_that_fit(self, longest: int) -> int:
        """The logits of all tokens of a text are held at once: 150 MB for 300 tokens of a published vocabulary."""
        vocabulary = self.process.model.network.get_output_embeddings().weight.shape[0]
        return max(1, LOGITS_AT_ONCE // (max(longest, 1) * vocabulary))

    def _log_probs(self, prefix: Prefix, tokens: Sequence[tuple[int, ...]]) -> Float[np.ndarray, " n"]:
        lengths = [len(row) for row in tokens]
        longest, device = max(*lengths, 1), prefix.hidden.device
        rows = torch.zeros(len(tokens), longest, dtype=torch.long, device=device)
        for row, said in zip(rows, tokens, strict=True):
            row[: len(said)] = torch.tensor(said, dtype=torch.long)
        slots = torch.arange(longest, device=device).expand(len(tokens), -1)
        branches = Branches(self.process.model.network, [(prefix, len(tokens))], longest)
        fed = branches.feed(rows, slots, keep=longest)
        logits = torch.cat([prefix.logits.expand(len(tokens), 1, -1), fed.logits[:, :-1]], 1)
        log_probs = logits.float().log_softmax(-1).gather(-1, rows[..., None])[..., 0]
        inside = slots < torch.tensor(lengths, device=device)[:, None]
        return torch.where(inside, log_probs, 0.0).sum(1).double().cpu().numpy()
