"""The evaluation of texts: each prompt once, known texts from the cache, and rows together where possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.node_cache import BoundedCache, Key, Node
from sadt_ray.processes.language.prefix import Prefix, prefill
from sadt_ray.processes.language.prompt import Prompt

Tokens = tuple[int, ...]


class Open(NamedTuple):
    """B texts that were evaluated to their end and can be continued."""

    branches: Branches
    logits: Float[Tensor, "B V"]
    hidden: Float[Tensor, "B H"]
    known: list[Key | None]  # the cached node that each row started from
    stops: list[int]  # the number of tokens that were cached


class Decoder:
    """A language model, its prompts, and a cache of the texts that continue them.

    Args:
        model: the language model.
        prompts: name and prompt of each problem.
        max_tokens: longest text, forced tokens included.
        memory_limit: bytes of cached keys and values, beside those in use.
        rows_at_once: most rows that are evaluated together.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[tuple[str, Prompt]],
        max_tokens: int,
        memory_limit: int,
        rows_at_once: int,
    ) -> None:
        self.model, self.cache = model, BoundedCache(memory_limit)
        self.max_tokens = max_tokens
        self._prompts, self._rows_at_once = prompts, rows_at_once

    def batches(self, problem: Int[np.ndarray, " B"]) -> Iterator[Int[np.ndarray, " n"]]:
        """Rows that can be evaluated together, ordered by problem."""
        order = np.argsort(problem, kind="stable")
        groups = [order]
        if getattr(self.model, "one_prompt_at_a_time", True):
            groups = np.split(order, np.flatnonzero(np.diff(problem[order])) + 1)
        for group in groups:
            for rows in np.array_split(group, max(1, -(-len(group) // self._rows_at_once))):
                yield from self._fitting(rows, problem)

    def prefix(self, problem: int) -> Prefix:
        """The evaluated prompt of a problem, forced tokens included. Conditions the model on it.

        Raises:
            ValueError: naming the problem, if its prompt does not fit the model.
        """
        name, prompt = self._prompts[problem]
        self.model.condition(prompt)
        prefix = self.cache.get((problem,))
        if prefix is None:
            try:
                prefix = prefill(self.model, prompt)
            except ValueError as error:
                raise ValueError(f"problem {name!r}: {error}") from error
            self.cache.put((problem,), prefix)
        return prefix

    @torch.inference_mode()
    def open(self, texts: Sequence[Tokens], problem: Int[np.ndarray, " B"], spare: int = 0) -> Open:
        """Evaluate texts to their end, starting from what is cached.

        Args:
            texts: tokens of each row after the forced ones.
            problem: problem of each row, ascending.
            spare: tokens that a row may hold beyond ``max_tokens``.
        """
        prefixes = {int(p): self.prefix(int(p)) for p in np.unique(problem)}
        parts = [(prefix, int((problem == p).sum())) for p, prefix in prefixes.items()]
        branches = Branches(self.model.network, parts, self.max_tokens + spare)
        known, stops = [], []
        for row, tokens in enumerate(texts):
            key = self._longest_known(int(problem[row]), tokens)
            pieces = [] if key is None else self.cache.path(key) or []
            for piece in pieces:
                branches.load(row, piece.start, piece.segment)
            known.append(key if pieces else None)
            stops.append(pieces[-1].stop if pieces else 0)
        hidden = torch.stack([prefixes[int(p)].hidden for p in problem])
        logits = torch.stack([prefixes[int(p)].logits for p in problem])
        missing = max(max(1, len(tokens) - stop) * bool(tokens) for tokens, stop in zip(texts, stops, strict=True))
        if missing:
            fed = branches.feed(*_last(texts, missing, logits.device))
            going_on = torch.tensor([bool(tokens) for tokens in texts], device=logits.device)[:, None]
            logits = torch.where(going_on, fed.logits[:, 0], logits)
            hidden = torch.where(going_on, fed.hidden[:, 0].float(), hidden)
        return Open(branches, logits, hidden, known, stops)

    def keep(
        self,
        problem: int,
        tokens: Tokens,
        parent: tuple[Key | None, int],
        stop: int,
        source: tuple[Branches, int],
        hidden: Float[Tensor, " H"] | None = None,
        last: bool = False,
    ) -> tuple[Key | None, int]:
        """Cache a text.

        Args:
            problem, tokens: the text.
            parent: the node above it, and the number of tokens whose keys and values the nodes down to it hold.
            stop: number of tokens of this text whose keys and values ``source`` holds.
            source: branches and the row of the text in them.
            hidden: last hidden state of the text.
            last: whether no text continues this one; such texts are dropped first.

        Returns:
            The ``parent`` for a text below this one.
        """
        key, (branches, row) = (problem, tokens), source
        node = self.cache.get(key) if key in self.cache else None
        if node is None and stop > parent[1]:
            node = Node(parent[0], parent[1], stop, branches.segment(row, parent[1], stop), hidden)
            self.cache.put(key, node, last)
        elif node is not None and node.hidden is None and hidden is not None:
            node = replace(node, hidden=hidden)
            self.cache.put(key, node)
        if node is None:
            return parent
        if not last:
            self.cache.path(key)  # marks the nodes above it as used, so that they are not dropped before it
        return key, node.stop

    def hidden(self, problem: int, tokens: Tokens) -> Float[Tensor, " H"] | None:
        """The last hidden state of a cached text; None if there is none."""
        node = self.cache.get((problem, tokens))
        return None if node is None else node.hidden

    def _longest_known(self, problem: int, tokens: Tokens) -> Key | None:
        keys = ((problem, tokens[:stop]) for stop in range(len(tokens), 0, -1))
        return next((key for key in keys if key in self.cache), None)

    def _fitting(self, rows: Int[np.ndarray, " n"], problem: Int[np.ndarray, " B"]) -> Iterator[Int[np.ndarray, " _"]]:
        """Split rows so that the prompts of each part fit side by side in a quarter of the memory."""
        present, number = np.unique(problem[rows], return_inverse=True)
        fit = max(1, self.cache.limit // (4 * self.prefix(int(present[0])).nbytes)) if len(present) > 1 else 1
        yield from np.split(rows, np.flatnonzero(np.diff(number // fit)) + 1)


def _last(texts: Sequence[Tokens], count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The last ``count`` tokens of each text and their slots; shorter texts are padded in front."""
    tokens = [(*[0] * max(0, count - len(text)), *text[max(0, len(text) - count) :]) for text in texts]
    slots = [range(len(text) - count, len(text)) for text in texts]
    return torch.tensor(tokens, device=device), torch.tensor([list(row) for row in slots], device=device)
