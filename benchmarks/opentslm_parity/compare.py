"""This package on the tiny checkpoints, and how far it is from what upstream computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.opentslm_parity.cases import KEPT, NEVER_CHOSEN, TOKENS, Case, Decoded, Question, cases, question
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prompt import Prompt


@dataclass(frozen=True)
class Difference:
    """Ours against upstream's, for one case.

    Attributes:
        logits: largest absolute difference of next-token logits, over steps with the same text so far.
        spread: of upstream's logits, largest less smallest: what the difference is to be measured by.
        same: equal tokens, counted until the first that differs.
        tokens: of upstream's decode that are compared.
    """

    logits: float
    spread: float
    same: int
    tokens: int


def compare(home: Path, reference: dict[str, Decoded], dtype: torch.dtype = torch.float32) -> dict[str, Difference]:
    """Every case, through the real loading path from a private cache of the hub."""
    differences: dict[str, Difference] = {}
    loaded: tuple[str, LanguageModel] | None = None
    for case in cases():
        if loaded is None or loaded[0] != case.hub_id:
            loaded = case.hub_id, load(home, case, dtype)
        if case.kind != "flamingo":
            loaded[1].tokenizer.padding_side = "right" if case.whole else "left"
        ours = decode(loaded[1], question(case.count), NEVER_CHOSEN[case.family])
        differences[case.name] = _difference(ours, reference[case.name], case.steps)
    return differences


def load(home: Path, case: Case, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A checkpoint from the cache in ``home``, never from the hub."""
    with cache_in(home):
        return load_opentslm(case.hub_id, dtype=dtype, offline=True)


@torch.no_grad()
def decode(model: LanguageModel, asked: Question, never_chosen: Sequence[int] = ()) -> Decoded:
    """Greedily, token after token with a cache, after the tokens that the model has forced."""
    prompt = Prompt(asked.pre, asked.texts, asked.series, asked.post)
    model.condition(prompt)
    inputs, cache, logits = {"inputs_embeds": model.embed(prompt)}, None, []
    for step in range(TOKENS):
        out = model.network(**inputs, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits[0, -1].float())
        token = torch.tensor(model.forced[step]) if step < len(model.forced) else _likeliest(logits[-1], never_chosen)
        if token == model.tokenizer.eos_token_id:
            break
        inputs = {"input_ids": token.view(1, 1)}
    return Decoded.of(torch.stack(logits).numpy())


def _likeliest(logits: Float[Tensor, " V"], never_chosen: Sequence[int]) -> Int[Tensor, ""]:
    kept = logits.clone()
    kept[[token for token in never_chosen if token < len(kept)]] = -torch.inf
    return kept.argmax()


@contextmanager
def cache_in(home: Path) -> Iterator[None]:
    """The hub's cache is in ``home``; its library reads the environment once, so its constants are set."""
    from huggingface_hub import constants

    before = constants.HF_HUB_CACHE
    constants.HF_HUB_CACHE = str(home / "hub")
    try:
        yield
    finally:
        constants.HF_HUB_CACHE = before


def _difference(ours: Decoded, theirs: Decoded, steps: Sequence[int]) -> Difference:
    """Over the steps to be compared that both reached with the same text so far."""
    first, length = steps[0], min(len(ours.tokens), len(theirs.tokens))
    differs = np.flatnonzero(ours.tokens[first:length] != theirs.tokens[first:length])
    agreed = first + int(differs[0]) if len(differs) else length
    rows = {step: row for row, step in enumerate(KEPT)}
    compared = [step for step in steps if step <= agreed and step < length]
    apart = [np.abs(ours.logits[step] - theirs.logits[rows[step]]).max() for step in compared]
    return Difference(float(max(apart)), float(np.ptp(theirs.logits[-1])), agreed - first, len(theirs.tokens) - first)
