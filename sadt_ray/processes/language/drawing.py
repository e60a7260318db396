"""Draw texts token by token, a batch of rows at a time, until each has ended or reached its step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.numerics.rng import uniforms
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.decoder import Decoder
from sadt_ray.processes.language.node_cache import Key
from sadt_ray.processes.language.prior import TokenLaw

_TAIL = 256  # last characters of a text, in which ends of blocks and markers are looked for
_WORTH_A_COPY = 0.75  # finished rows are dropped when at most this share of the rows continues


@runtime_checkable
class Reader(Protocol):
    """How a chain reads a text."""

    def piece(self, token: int) -> str:
        """The text of a token."""

    def over(self, problem: int, text: str, token: int) -> bool:
        """Whether a text is complete, given its last characters and its last token."""


@dataclass
class Row:
    """One text that is being drawn.

    Attributes:
        problem: number of its problem.
        tokens: tokens after the forced ones.
        text: the last characters of their text.
        in_block: number of tokens since the end of the last block.
        step: the last step of the chain that was passed; -1 before the first token.
        stop: the step to stop at.
        over: whether the text is complete.
        marks: the steps that were passed, with the number of tokens at each.
        hidden: last hidden states, by number of tokens.
        known: the cached node that the text continues, and the number of tokens that are cached.
    """

    problem: int
    tokens: list[int]
    text: str
    in_block: int
    step: int
    stop: int
    over: bool = False
    marks: list[tuple[int, int]] = field(default_factory=list)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    known: tuple[Key | None, int] = (None, 0)

    @property
    def there(self) -> bool:
        """Whether the text is complete or has reached its step."""
        return self.over or self.step >= self.stop


@dataclass
class _Batch:
    """Rows that are drawn together. Finished rows stay until enough of them can be dropped at once."""

    rows: list[Row]
    uniforms: Float[np.ndarray, "B max_tokens"]
    branches: Branches
    logits: Float[Tensor, "B V"]  # of each row's next token


class Drawing:
    """Draws batches of rows as ``Decoder.batches`` makes them.

    Args:
        decoder: evaluates the tokens.
        law: the law of the next token.
        blocks: where the steps of the chain are.
        reader: tells when a text is complete.
        forced: number of forced tokens, because the uniform of a token is numbered by its place in the state.
    """

    def __init__(self, decoder: Decoder, law: TokenLaw, blocks: Blocks, reader: Reader, forced: int) -> None:
        self._decoder, self._law, self._blocks, self._reader = decoder, law, blocks, reader
        self._forced = forced

    @torch.inference_mode()
    def run(self, rows: list[Row], seeds: UInt64[np.ndarray, " B"], wanted: frozenset[int]) -> None:
        """Draw rows to their stops. The states at the steps ``wanted`` and at the ends are cached."""
        going = [not row.there for row in rows]
        if not any(going):
            return
        batch = self._opened([row for row in rows if not row.there], seeds[going])
        while self._draw(batch):
            self._drop_arrived(batch, wanted)
            self._feed(batch, wanted)
        self._file(batch, wanted)

    def _opened(self, rows: list[Row], seeds: UInt64[np.ndarray, " B"]) -> _Batch:
        """Evaluate the rows so far, and cache them."""
        opened = self._decoder.open([tuple(row.tokens) for row in rows], np.array([row.problem for row in rows]))
        for place, row in enumerate(rows):
            row.known = (opened.known[place], opened.stops[place])
            row.hidden[len(row.tokens)] = opened.hidden[place].clone()
            if row.tokens:
                self._keep(row, len(row.tokens), (opened.branches, place))
        u = uniforms(seeds, np.zeros(len(rows), np.int64), self._decoder.max_tokens)
        return _Batch(rows, u, opened.branches, opened.logits)

    def _draw(self, batch: _Batch) -> bool:
        """Draw the next token of each unfinished row; returns whether any row is still unfinished."""
        at = np.array([len(row.tokens) + self._forced for row in batch.rows])
        at = np.minimum(at, self._decoder.max_tokens - 1)  # full rows that wait for the others use no token
        drawn = self._law.draw(batch.logits, batch.uniforms[np.arange(len(at)), at]).tolist()
        for row, token in zip(batch.rows, drawn, strict=True):
            if not row.there:
                self._say(row, token)
        return any(not row.there for row in batch.rows)

    def _drop_arrived(self, batch: _Batch, wanted: frozenset[int]) -> None:
        """Drop finished rows once they are a quarter of all: dropping them copies the others."""
        going = np.flatnonzero([not row.there for row in batch.rows])
        if len(going) > _WORTH_A_COPY * len(batch.rows):
            return
        self._file(batch, wanted)
        batch.branches.take(torch.as_tensor(going, device=batch.logits.device))
        batch.rows, batch.uniforms = [batch.rows[place] for place in going], batch.uniforms[going]

    def _feed(self, batch: _Batch, wanted: frozenset[int]) -> None:
        """Evaluate the last tokens. Finished rows repeat theirs, which changes nothing."""
        device = batch.logits.device
        tokens = torch.tensor([[row.tokens[-1]] for row in batch.rows], device=device)
        slots = torch.tensor([[len(row.tokens) - 1] for row in batch.rows], device=device)
        fed = batch.branches.feed(tokens, slots)
        batch.logits = fed.logits[:, 0]
        for place, row in enumerate(batch.rows):
            if row.marks and row.marks[-1][1] == len(row.tokens) and row.marks[-1][0] in wanted:
                row.hidden[len(row.tokens)] = fed.hidden[place, 0].float().clone()

    @torch.inference_mode()
    def look(self, texts: list[tuple[int, ...]], problem: Int[np.ndarray, " B"]) -> Float[Tensor, "B H"]:
        """Last hidden states of texts. The texts are cached."""
        opened = self._decoder.open(texts, problem)
        for place, tokens in enumerate(texts):
            parent, source = (opened.known[place], opened.stops[place]), (opened.branches, place)
            if tokens:
                p, hidden = int(problem[place]), opened.hidden[place].clone()
                self._decoder.keep(p, tokens, parent, len(tokens), source, hidden)
        return opened.hidden

    def _say(self, row: Row, token: int) -> None:
        """Append a token; update step and end."""
        row.tokens.append(token)
        row.text = (row.text + self._reader.piece(token))[-_TAIL:]
        row.in_block += 1
        full = len(row.tokens) + self._forced >= self._decoder.max_tokens
        if full or self._reader.over(row.problem, row.text, token):
            row.over = True
            return
        first = row.step < 0 and self._blocks.tokens > 1
        if first:
            self._mark(row, 0)
        elif max(row.step, 0) + 1 < self._blocks.count and self._blocks.closed(row.text, row.in_block):
            self._mark(row, max(row.step, 0) + 1)
            row.in_block = 0

    def _mark(self, row: Row, step: int) -> None:
        row.step = step
        row.marks.append((step, len(row.tokens)))

    def _file(self, batch: _Batch, wanted: frozenset[int]) -> None:
        """Cache the states that finished rows passed, before their keys and values are dropped."""
        for place, row in enumerate(batch.rows):
            if not row.there:
                continue
            for length in [length for step, length in row.marks if step in wanted]:
                self._keep(row, length, (batch.branches, place))
            if row.over:
                self._keep(row, len(row.tokens), (batch.branches, place), last=True)

    def _keep(self, row: Row, length: int, source: tuple[Branches, int], last: bool = False) -> None:
        """Cache the first ``length`` tokens of a row. The last token has keys and values only if it was evaluated,
        that is if its hidden state is known."""
        hidden = row.hidden.get(length)
        stop = length if length < len(row.tokens) or hidden is not None else length - 1
        tokens = tuple(row.tokens[:length])
        row.known = self._decoder.keep(row.problem, tokens, row.known, stop, source, hidden, last)
