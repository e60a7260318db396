"""Tokens as text: what a text has said so far, whether it has ended, and the sample that it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sadt_ray.processes.language.model import LanguageModel


class Texts:
    """A tokenizer, seen from its text.

    Args:
        model: whose tokenizer it is, and whose tokens end a text.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = model.tokenizer
        self.ends = _end_tokens(model)
        self._pieces: dict[int, str] = {}
        self._anchor = self._ids("a")[-1:]

    def piece(self, token: int) -> str:
        """What a token adds to a text; nothing for special ones. Bytes of a broken character are not looked into."""
        if token not in self._pieces:
            self._pieces[token] = self._decode([*self._anchor, token])[len(self._decode(self._anchor)) :]
        return self._pieces[token]

    def said(self, tokens: Iterable[int]) -> str:
        """Of tokens, those of negative number left out."""
        return "".join(self.piece(int(token)) for token in tokens if token >= 0)

    def sample(self, tokens: Iterable[int]) -> str:
        """The text as a reader gets it, special tokens left out."""
        return self._decode([int(token) for token in tokens if token >= 0])

    def tokens(self, text: str, after: str = "") -> tuple[int, ...]:
        """Of a text that comes after another, as the two are cut together where that leaves the first as it was."""
        both, before = self._ids(after + text), self._ids(after)
        return tuple(both[len(before) :] if both[: len(before)] == before else self._ids(text))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False)) if text else []

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _end_tokens(model: LanguageModel) -> frozenset[int]:
    """Those of the tokenizer and of the network's generation config. Raises ValueError where there is none."""
    config: Any = getattr(model.network, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    found = {model.tokenizer.eos_token_id, *(ends if isinstance(ends, (list, tuple)) else (ends,))} - {None}
    if not found:
        raise ValueError("the tokenizer has no token that ends a text; set its eos_token")
    return frozenset(int(token) for token in found)
