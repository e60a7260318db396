"""Drawing texts token by token, a batch of rows at a time, until each has ended or come to the step it was to reach."""

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

_TAIL = 256  # characters of a text that ends of blocks and markers are looked for in
_WORTH_A_COPY = 0.75  # share of rows that still go on


@runtime_checkable
class Reader(Protocol):
    """What a text means to its chain."""

    def piece(self, token: int) -> str:
        """What a token adds to the text."""

    def over(self, problem: int, text: str, token: int) -> bool:
        """Whether a text, its end given, has ended with the token that was said last."""


@dataclass
class Row:
    """One text on its way.

    Attributes:
        tokens: beyond those that are forced.
        text: the end of what they say.
        in_block: tokens since the last block's end.
        step: of the chain, that was passed last; -1 before the first token.
        stop: step to end at.
        marks: steps that were passed, with the number of tokens at each.
        over: whether the text has ended.
    """

    problem: int
    tokens: list[int]
    text: str
    in_block: int
    step: int
    stop: int
    over: bool = False
    marks: list[tuple[int, int]] = field(default_factory=list)
    hidden: dict[int, Tensor] = field(default_factory=dict)  # by number of tokens
    known: tuple[Key | None, int] = (None, 0)

    @property
    def there(self) -> bool:
        return self.over or self.step >= self.stop


@dataclass
class _Batch:
    """Rows that are drawn together; those that have arrived wait until enough have."""

    rows: list[Row]
    uniforms: Float[np.ndarray, "B max_tokens"]
    branches: Branches
    logits: Float[Tensor, "B V"]  # of each row's next token


class Drawing:
    """Draws rows that ``Decoder.batches`` put together.

    Args:
        decoder: evaluates.
        law: of a token.
        blocks: where steps are.
        reader: says what a text is.
        forced: number of tokens that every text begins with: the uniform of a token is numbered by its place.
    """

    def __init__(self, decoder: Decoder, law: TokenLaw, blocks: Blocks, reader: Reader, forced: int) -> None:
        self._decoder, self._law, self._blocks, self._reader = decoder, law, blocks, reader
        self._forced = forced

    @torch.inference_mode()
    def run(self, rows: list[Row], seeds: UInt64[np.ndarray, " B"], wanted: frozenset[int]) -> None:
        """Draw rows to their stops. States at the steps ``wanted`` are remembered, and where they end."""
        going = [not row.there for row in rows]
        if not any(going):
            return
        batch = self._opened([row for row in rows if not row.there], seeds[going])
        while self._draw(batch):
            self._drop_arrived(batch, wanted)
            self._feed(batch, wanted)
        self._file(batch, wanted)

    def _opened(self, rows: list[Row], seeds: UInt64[np.ndarray, " B"]) -> _Batch:
        """Evaluate what rows have said so far, and remember it."""
        opened = self._decoder.open([tuple(row.tokens) for row in rows], np.array([row.problem for row in rows]))
        for place, row in enumerate(rows):
            row.known = (opened.known[place], opened.stops[place])
            row.hidden[len(row.tokens)] = opened.hidden[place].clone()
            if row.tokens:
                self._keep(row, len(row.tokens), (opened.branches, place))
        u = uniforms(seeds, np.zeros(len(rows), np.int64), self._decoder.max_tokens)
        return _Batch(rows, u, opened.branches, opened.logits)

    def _draw(self, batch: _Batch) -> bool:
        """One token more of every row that goes on; whether any still does."""
        at = np.array([len(row.tokens) + self._forced for row in batch.rows])
        at = np.minimum(at, self._decoder.max_tokens - 1)  # full rows that wait for the others draw nothing
        drawn = self._law.draw(batch.logits, batch.uniforms[np.arange(len(at)), at]).tolist()
        for row, token in zip(batch.rows, drawn, strict=True):
            if not row.there:
                self._say(row, token)
        return any(not row.there for row in batch.rows)

    def _drop_arrived(self, batch: _Batch, wanted: frozenset[int]) -> None:
        """Go on without the rows that have arrived, once they are a quarter: a copy of the others costs, too."""
        going = np.flatnonzero([not row.there for row in batch.rows])
        if len(going) > _WORTH_A_COPY * len(batch.rows):
            return
        self._file(batch, wanted)
        batch.branches.take(torch.as_tensor(going, device=batch.logits.device))
        batch.rows, batch.uniforms = [batch.rows[place] for place in going], batch.uniforms[going]

    def _feed(self, batch: _Batch, wanted: frozenset[int]) -> None:
        """Evaluate the tokens said last. Rows that wait say theirs again, which changes nothing."""
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
        """Last hidden states of texts, which are remembered."""
        opened = self._decoder.open(texts, problem)
        for place, tokens in enumerate(texts):
            parent, source = (opened.known[place], opened.stops[place]), (opened.branches, place)
            if tokens:
                p, hidden = int(problem[place]), opened.hidden[place].clone()
                self._decoder.keep(p, tokens, parent, len(tokens), source, hidden)
        return opened.hidden

    def _say(self, row: Row, token: int) -> None:
        """One token more, and what it means."""
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
        """Remember what the rows that have arrived passed on their way, before their keys and values are dropped."""
        for place, row in enumerate(batch.rows):
            if not row.there:
                continue
            for length in [length for step, length in row.marks if step in wanted]:
                self._keep(row, length, (batch.branches, place))
            if row.over:
                self._keep(row, len(row.tokens), (batch.branches, place), last=True)

    def _keep(self, row: Row, length: int, source: tuple[Branches, int], last: bool = False) -> None:
        """Keys and values of the token said last are not there yet, unless its hidden state is."""
        hidden = row.hidden.get(length)
        stop = length if length < len(row.tokens) or hidden is not None else length - 1
        tokens = tuple(row.tokens[:length])
        row.known = self._decoder.keep(row.problem, tokens, row.known, stop, source, hidden, last)
