"""Enumerate the ends of a text that has just announced its answer: each answer with its probability.

    p(answer | text) = prod_i p(token_i | text, tokens before) p(end | text, answer),

under the same law of tokens that texts are drawn from. The last factor counts where texts end with their answer. The
rest of the probability, for answers outside the list, goes to the text as it is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Completions, States
from sadt_ray.processes.language.answers import Choices, choices_after
from sadt_ray.processes.language.protocols import TextsInProgress

LOGITS_AT_ONCE = 1 << 26
"""Most numbers in the logits of rows that are evaluated together."""
_NOTHING_LEFT = 1e-9  # a smaller rest of the probability is rounding


class _Listed(NamedTuple):
    """The completions of one row."""

    texts: list[str]
    log_probs: Float[np.ndarray, " K"]
    nfe: int


class Completer:
    """Completes the texts of a chain."""

    def __init__(self, chain: TextsInProgress) -> None:
        self._chain = chain
        self._choices: dict[tuple, Choices] = {}

    def __call__(self, states: States, problem: Int[np.ndarray, " B"]) -> Completions:
        listed: list[_Listed] = [self._as_it_stands(state) for state in states]
        for batch in self._chain.decoder.batches(problem):
            for choices, rows in self._alike(states, problem, batch):
                listed_rows = self._listed(choices, states[rows], problem[rows])
                for row, completions in zip(rows, listed_rows, strict=True):
                    listed[row] = completions
        return Completions(
            np.repeat(np.arange(len(states)), [len(one.texts) for one in listed]),
            np.array([text for one in listed for text in one.texts], dtype=np.str_),
            np.concatenate([one.log_probs for one in listed]) if listed else np.zeros(0),
            np.array([one.nfe for one in listed], np.int64),
        )

    def _as_it_stands(self, state: np.ndarray) -> _Listed:
        return _Listed([self._chain.texts.sample(state)], np.zeros(1), 0)

    def _alike(
        self, states: States, problem: Int[np.ndarray, " B"], batch: Int[np.ndarray, " n"]
    ) -> list[tuple[Choices, list[int]]]:
        """Rows that have announced an answer, grouped by the answers that are possible."""
        groups: dict[tuple, list[int]] = defaultdict(list)
        for row in batch.tolist():
            prompt = self._chain.prompts[problem[row]]
            tail = self._chain.tail(int(problem[row]), self._chain.texts.said(states[row]))
            if tail is not None and int(states[row][(states[row] >= 0).sum() - 1]) not in self._chain.texts.ends:
                key = (prompt.marker, prompt.answers, prompt.ends, tail)
                if key not in self._choices:
                    self._choices[key] = choices_after(tail, prompt, self._chain.texts)
                groups[key].append(row)
        return [
            (self._choices[key], rows[start : start + size])
            for key, rows in groups.items()
            for size in [self._rows_at_once(self._choices[key])]
            for start in range(0, len(rows), size)
        ]

    def _rows_at_once(self, choices: Choices) -> int:
        vocabulary = self._chain.model.network.get_output_embeddings().weight.shape[0]
        return max(1, LOGITS_AT_ONCE // ((1 + len(choices.tokens)) * vocabulary))

    def _listed(self, choices: Choices, states: States, problem: Int[np.ndarray, " n"]) -> list[_Listed]:
        texts = [self._chain.tokens_of(state) for state in states]
        log_probs = self._answer_log_probs(choices, texts, problem)
        out = []
        for state, row in zip(states, log_probs, strict=True):
            said, rest = self._chain.texts.sample(state), 1.0 - float(np.exp(row).sum())
            possible = np.flatnonzero(np.isfinite(row))
            samples, logs = [said + choices.texts[k] for k in possible], row[possible]
            if rest > _NOTHING_LEFT or not len(possible):
                samples, logs = [*samples, said], np.append(logs, np.log(rest))
            out.append(_Listed(samples, logs - np.logaddexp.reduce(logs), len(choices.tokens)))
        return out

    @torch.inference_mode()
    def _answer_log_probs(
        self, choices: Choices, texts: list[tuple[int, ...]], problem: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n K"]:
        """log p of each answer after each text; K = 0 if the texts have begun something else."""
        if not choices.steps:
            return np.empty((len(texts), 0))
        count = len(choices.tokens)
        opened = self._chain.decoder.open(texts, problem, spare=count)
        logits = opened.logits[:, None]
        if count:
            lengths = torch.tensor([len(text) for text in texts], device=logits.device)
            fed = opened.branches.feed(
                torch.as_tensor(choices.tokens, device=logits.device).expand(len(texts), -1),
                *_slots(choices, lengths),
                keep=count,
            )
            logits = torch.cat([logits, fed.logits], 1)
        table = self._chain.process.law.log_probs(logits).double()
        ends = torch.tensor(sorted(self._chain.texts.ends), device=logits.device)
        table = torch.cat([table, table[..., ends].logsumexp(-1, keepdim=True)], -1)  # column -1: the end
        columns = [
            sum((table[:, node + 1, token] for node, token in steps), torch.zeros(()).to(table))
            for steps in choices.steps
        ]
        return torch.stack([column.expand(len(texts)) for column in columns], 1).cpu().numpy()


def _slots(choices: Choices, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slots, depths and visible slots of the answers' tokens after texts of these lengths."""
    count, device = len(choices.tokens), lengths.device
    slots = lengths[:, None] + torch.arange(count, device=device)
    depths = lengths[:, None] - 1 + torch.as_tensor(choices.depths, device=device)
    places = torch.arange(int(lengths.max()) + count, device=device)
    beyond = places - lengths[:, None]  # the answer token at each place
    ancestors = torch.as_tensor(choices.ancestors(), device=device)
    inside = (beyond >= 0) & (beyond < count)
    seen = ancestors[:, beyond.clamp(0, count - 1)].transpose(0, 1) & inside[:, None]
    return slots, depths, seen | (beyond < 0)[:, None]
