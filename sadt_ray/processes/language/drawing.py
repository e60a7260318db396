"""Drawing texts token by token, a batch of rows at a time, until each has ended or come to the step it was to reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.decoder import Decoder
from sadt_ray.processes.language.node_cache import Key
from sadt_ray.processes.language.prior import TokenLaw
from sadt_ray.rng import uniforms

_TAIL = 256  # characters of a text that ends of blocks and markers are looked for in


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
        rows, chosen = [row for row in rows if not row.there], [not row.there for row in rows]
        if not rows:
            return
        u = uniforms(seeds[chosen], np.zeros(len(rows), np.int64), self._decoder.max_tokens)
        opened = self._decoder.open([tuple(row.tokens) for row in rows], np.array([row.problem for row in rows]))
        branches, logits, hidden = opened.branches, opened.logits, opened.hidden
        places = dict(zip((id(row) for row in rows), range(len(rows)), strict=True))
        for row, key, stop in zip(rows, opened.known, opened.stops, strict=True):
            row.known = (key, stop)
            row.hidden[len(row.tokens)] = hidden[places[id(row)]].clone()
            if row.tokens:
                self._keep(row, len(row.tokens), (branches, places[id(row)]))
        live = list(rows)
        while True:
            at = np.array([len(row.tokens) + self._forced for row in live])
            at = np.minimum(at, self._decoder.max_tokens - 1)  # full rows that wait for the others draw nothing
            drawn = self._law.draw(logits, u[np.arange(len(live)), at]).tolist()
            for row, token in zip(live, drawn, strict=True):
                if not row.there:
                    self._say(row, token)
            going = [not row.there for row in live]
            if not any(going):
                break
            if sum(going) <= 0.75 * len(going):
                self._file(live, going, branches, wanted)
                index = np.flatnonzero(going)
                branches.take(torch.as_tensor(index, device=logits.device))
                live, u = [live[i] for i in index], u[index]
            fed = branches.feed(*_next(live, logits.device))
            logits, hidden = fed.logits[:, 0], fed.hidden[:, 0]
            for i, row in enumerate(live):
                if row.marks and row.marks[-1][1] == len(row.tokens) and row.marks[-1][0] in wanted:
                    row.hidden[len(row.tokens)] = hidden[i].float().clone()
        self._file(live, [False] * len(live), branches, wanted)

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

    def _file(self, live: list[Row], going: list[bool], branches: object, wanted: frozenset[int]) -> None:
        """Remember what the rows that have arrived passed on their way, before their keys and values are dropped."""
        for place, (row, goes_on) in enumerate(zip(live, going, strict=True)):
            if goes_on:
                continue
            for length in [length for step, length in row.marks if step in wanted]:
                self._keep(row, length, (branches, place))
            if row.over:
                self._keep(row, len(row.tokens), (branches, place), last=True)

    def _keep(self, row: Row, length: int, source: tuple, last: bool = False) -> None:
        """Keys and values of the token said last are not there yet, unless its hidden state is."""
        hidden = row.hidden.get(length)
        stop = length if length < len(row.tokens) or hidden is not None else length - 1
        tokens = tuple(row.tokens[:length])
        row.known = self._decoder.keep(row.problem, tokens, row.known, stop, source, hidden, last)


def _next(live: list[Row], device: torch.device) -> tuple[Int[Tensor, "B 1"], Int[Tensor, "B 1"]]:
    """The token said last and its slot. Rows that have arrived say it again: that changes nothing."""
    tokens = torch.tensor([[row.tokens[-1]] for row in live], device=device)
    return tokens, torch.tensor([[len(row.tokens) - 1] for row in live], device=device)
