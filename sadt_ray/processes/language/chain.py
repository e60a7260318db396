"""A language model bound to problems: a ``Chain`` whose states are tokens and whose last step may be the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64

from sadt_ray.interfaces import Completions, Path, Problem, States, Step
from sadt_ray.processes.language.answers import said_after
from sadt_ray.processes.language.completing import Completer
from sadt_ray.processes.language.decoder import Decoder
from sadt_ray.processes.language.drawing import Drawing, Row
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.processes.language.protocols import TextPrior
from sadt_ray.processes.language.texts import Texts
from sadt_ray.processes.language.walk import TextWalk

_PAD = -1


class TextChain:
    """A causal language model bound to problems; see ``CausalLMProcess``.

    A row of a state holds the tokens of the text so far, the forced ones first. ``nfe`` counts the tokens that were
    drawn and the tokens of answers that were scored. A text that fell out of the cache is evaluated again at no charge.
    """

    def __init__(self, process: TextPrior, problems: Sequence[Problem]) -> None:
        self.process, self.model = process, process.model
        self.texts = Texts(self.model)
        self.prompts = [_prompt_of(problem) for problem in problems]
        named = [(problem.name, prompt) for problem, prompt in zip(problems, self.prompts, strict=True)]
        _check(self.model, named)
        self.decoder = Decoder(self.model, named, process.max_tokens, process.memory_limit, process.rows_at_once)
        self._forced = np.array(self.model.forced, np.int32)
        if len(self._forced) >= process.max_tokens:
            raise ValueError(f"max_tokens is {process.max_tokens}, of which {len(self._forced)} are forced; allow more")
        self._drawing = Drawing(self.decoder, process.law, process.blocks, self, len(self._forced))
        self._completer = Completer(self)
        self._steps = np.array((-1, *process.branch_steps))
        self.level_positions = np.array([0, *(process.blocks.steps.index(step) + 1 for step in process.branch_steps)])

    supports_guidance = False
    can_choose = False

    def root_states(self) -> States:
        """The forced tokens: nothing is drawn yet."""
        states = np.full((len(self.prompts), self.process.max_tokens), _PAD, np.int32)
        states[:, : len(self._forced)] = self._forced
        return states

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Move each row to its next branch level, or to x_0 if the text ends before. Token i uses uniform i of the
        row's seed."""
        levels = np.asarray(levels)
        rows = self.draw(states, problem, seeds, self._steps[levels], self._steps[levels + 1])
        over = np.array([row.over for row in rows], bool)
        return Step(
            self.states_of(rows),
            np.where(over, self.process.num_levels, levels + 1),
            self.drawn(states, rows),
        )

    def run_down(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """Move each row to the end of its text. Keys and values stay in use between levels."""
        levels, last = np.asarray(levels), self.process.num_levels
        below = np.flatnonzero(levels < last)
        stops = np.full(len(below), self._steps[-1])
        rows = self.draw(states[below], problem[below], seeds[below], self._steps[levels[below]], stops)
        ends, nfe = self.states_of(rows), np.zeros(len(states), np.int64)
        nfe[below] = self.drawn(states[below], rows)
        level_of = {int(step): level for level, step in enumerate(self._steps)}
        passed = [
            (place, level_of[step], length) for place, row in enumerate(rows) for step, length in row.marks
            if step in level_of
        ]  # fmt: skip
        ended = [(place, last, self.process.max_tokens) for place in range(len(rows))]
        place, level, length = np.array([*passed, *ended], np.int64).reshape(-1, 3).T
        kept = np.arange(states.shape[1]) < (length + len(self._forced) * (level < last))[:, None]
        return Path(below[place], level, np.where(kept, ends[place], _PAD).astype(np.int32), nfe)

    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        """Texts [B] without special tokens."""
        return np.array([self.texts.sample(state) for state in states], dtype=np.str_)

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """The last hidden state at the last token of each text, the input of the network's head. Cached."""
        out: dict[int, torch.Tensor] = {}
        for batch in self.decoder.batches(problem):
            texts = [self.tokens_of(states[row]) for row in batch]
            for row, tokens in zip(batch, texts, strict=True):
                found = self.decoder.hidden(int(problem[row]), tokens) if tokens else None
                if found is not None:
                    out[int(row)] = found
            new = [place for place, row in enumerate(batch) if int(row) not in out]
            if new:
                some = [texts[place] for place in new]
                hidden = self._drawing.look(some, problem[batch[new]])
                out.update(zip(batch[new].tolist(), hidden, strict=True))
        return torch.stack([out[row] for row in range(len(states))]).double().cpu().numpy()

    def complete(self, states: States, problem: Int[np.ndarray, " B"]) -> Completions:
        """Enumerate the answers after each text that has just announced one. Any other text is complete as it is."""
        return self._completer(states, problem)

    def children(self, state: np.ndarray, level: int, problem: int) -> tuple[States, Float[np.ndarray, " K"]]:
        """The most probable next tokens, at most ``process.enumerated``, if one token leads to the next level.

        Raises:
            ValueError: if more than one token lies between the levels.
        """
        first, then = self._steps[level], self._steps[level + 1]
        if (self.process.blocks.tokens > 1 and not (first < 0 and then == 0)) or then - max(first, 0) > 1:
            raise ValueError("children can be listed if a block is one token: use Blocks('tokens', tokens=1)")
        tokens = self.tokens_of(state)
        opened = self.decoder.open([tokens], np.array([problem]))
        log_probs = self.process.law.log_probs(opened.logits[0])
        top = log_probs.topk(min(self.process.enumerated, len(log_probs)))
        possible = torch.isfinite(top.values)
        states = np.repeat(state[None], int(possible.sum()), axis=0)
        states[:, len(self._forced) + len(tokens)] = top.indices[possible].cpu().numpy()
        return states, top.values[possible].double().cpu().numpy()

    def walk(self, states: States, position: int, problem: Int[np.ndarray, " B"]) -> TextWalk:
        return TextWalk(self, states, position, problem)

    def draw(
        self,
        states: States,
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
        steps: Int[np.ndarray, " B"],
        stops: Int[np.ndarray, " B"],
        every_step: bool = False,
    ) -> list[Row]:
        """Continue each text from step ``steps`` of the chain to step ``stops``, or to its end.

        Args:
            every_step: whether the states at all steps are cached; otherwise those at branch steps.
        """
        rows = [
            self._row(state, int(p), int(step), int(stop))
            for state, p, step, stop in zip(states, problem, steps, stops, strict=True)
        ]
        wanted = frozenset(self.process.blocks.steps if every_step else self.process.branch_steps)
        for batch in self.decoder.batches(problem):
            self._drawing.run([rows[i] for i in batch], seeds[batch], wanted)
        return rows

    def states_of(self, rows: Sequence[Row]) -> States:
        """States of drawn rows."""
        states = [self.state_of(row.tokens) for row in rows]
        return np.stack(states) if states else np.zeros((0, self.process.max_tokens), np.int32)

    def state_of(self, tokens: Sequence[int]) -> np.ndarray:
        """The state of a text, given its tokens after the forced ones."""
        state = np.full(self.process.max_tokens, _PAD, np.int32)
        said = (*self._forced.tolist(), *tokens)
        state[: len(said)] = said
        return state

    def drawn(self, states: States, rows: Sequence[Row]) -> Int[np.ndarray, " B"]:
        """Number of tokens that each row has beyond its state in ``states``."""
        return np.array([len(row.tokens) for row in rows], np.int64) + len(self._forced) - (states >= 0).sum(1)

    def tokens_of(self, state: np.ndarray) -> tuple[int, ...]:
        """Tokens of a state after the forced ones."""
        return tuple(state[len(self._forced) : int((state >= 0).sum())].tolist())

    def tail(self, problem: int, text: str) -> str | None:
        """The part of a text after its marker, if answers are enumerated; None if it has not announced one."""
        return said_after(text, self.prompts[problem]) if self.process.answers == "enumerated" else None

    def piece(self, token: int) -> str:
        return self.texts.piece(token)

    def over(self, problem: int, text: str, token: int) -> bool:
        return token in self.texts.ends or self.tail(problem, text) is not None

    def ended(self, state: np.ndarray, problem: int) -> bool:
        """Whether a text is complete."""
        tokens = self.tokens_of(state)
        full = len(tokens) + len(self._forced) >= self.process.max_tokens
        return full or self.over(problem, self.texts.said(tokens), tokens[-1] if tokens else _PAD)

    def _row(self, state: np.ndarray, problem: int, step: int, stop: int) -> Row:
        tokens = self.tokens_of(state)
        in_block = len(tokens) if step <= 0 else 0
        return Row(problem, list(tokens), self.texts.said(tokens), in_block, step, stop, self.ended(state, problem))


def _check(model: LanguageModel, prompts: Sequence[tuple[str, Prompt]]) -> None:
    """Raises ValueError naming a problem whose prompt the model refuses."""
    check = getattr(model, "check", None)
    if check is None:
        return
    for name, prompt in prompts:
        try:
            check(prompt)
        except ValueError as error:
            raise ValueError(f"problem {name!r}: {error}") from None


def _prompt_of(problem: Problem) -> Prompt:
    if not isinstance(problem.conditioning, Prompt):
        raise ValueError(
            f"problem {problem.name!r} is conditioned on a {type(problem.conditioning).__name__}; a language model "
            "needs a Prompt"
        )
    return problem.conditioning
