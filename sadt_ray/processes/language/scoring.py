"""What a language model says of whole texts: their log-likelihood, and what its head saw at their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.completing import LOGITS_AT_ONCE
from sadt_ray.processes.language.prefix import Prefix, prefill
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.processes.language.texts import Texts


class _Read(NamedTuple):
    """n texts, evaluated token by token."""

    log_probs: Float[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"]
    hidden: Float[np.ndarray, "n H"]


@dataclass(frozen=True)
class TextScoring:
    """log p(text | prompt) = sum_i log p(token_i | prompt, tokens before), of a process's model as it was trained.

    A text is cut into tokens anew, and ends with the token that ends texts where its prompt lets it end there
    (captions, answers that are last). No temperature, no top-k: those are how the prior draws.

    Attributes:
        process: whose model it is; travels without it, as processes do.
    """

    process: CausalLMProcess

    def __call__(self, prompt: Prompt, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """log p of each text, nats, and how many tokens it has."""
        read = self._read(prompt, texts)
        return read.log_probs, read.tokens

    def hidden(self, prompt: Prompt, texts: Sequence[str]) -> Float[np.ndarray, "n H"]:
        """Last hidden states at the last token of each text."""
        return self._read(prompt, texts).hidden

    @torch.inference_mode()
    def _read(self, prompt: Prompt, texts: Sequence[str]) -> _Read:
        model = self.process.model
        cut, end = Texts(model), model.tokenizer.eos_token_id
        last = (end,) if prompt.ends or not prompt.answers else ()
        tokens = [(*cut.tokens(text), *last) for text in texts]
        model.condition(prompt)
        prefix = prefill(model, prompt)
        size = min(self.process.rows_at_once, self._rows_that_fit(max(map(len, tokens), default=1)))
        parts = [self._rows(prefix, tokens[first : first + size]) for first in range(0, len(tokens), size)]
        return _Read(*(np.concatenate([np.asarray(part[k]) for part in parts]) for k in range(3)))

    def _rows_that_fit(self, longest: int) -> int:
        """Logits of every token of a text are held at once: of a published vocabulary, 150 MB for 300 tokens."""
        vocabulary = self.process.model.network.get_output_embeddings().weight.shape[0]
        return max(1, LOGITS_AT_ONCE // (max(longest, 1) * vocabulary))

    def _rows(self, prefix: Prefix, tokens: Sequence[tuple[int, ...]]) -> _Read:
        lengths = np.array([len(row) for row in tokens], np.int64)
        longest, device = max(int(lengths.max()), 1), prefix.hidden.device
        rows = torch.zeros(len(tokens), longest, dtype=torch.long, device=device)
        for row, said in zip(rows, tokens, strict=True):
            row[: len(said)] = torch.tensor(said, dtype=torch.long)
        slots = torch.arange(longest, device=device).expand(len(tokens), -1)
        branches = Branches(self.process.model.network, [(prefix, len(tokens))], longest)
        fed = branches.feed(rows, slots, keep=longest)
        logits = torch.cat([prefix.logits.expand(len(tokens), 1, -1), fed.logits[:, :-1]], 1)
        log_probs = logits.float().log_softmax(-1).gather(-1, rows[..., None])[..., 0]
        there = slots < torch.as_tensor(lengths, device=device)[:, None]
        hidden = torch.cat([prefix.hidden.expand(len(tokens), 1, -1), fed.hidden.float()], 1)
        ends = hidden[torch.arange(len(tokens), device=device), torch.as_tensor(lengths, device=device)]
        return _Read(_numpy(torch.where(there, log_probs, 0.0).sum(1)), lengths, _numpy(ends))


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
