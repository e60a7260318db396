"""Tokens and their text: the text so far, the tokens that end it, and the sample that a reader gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sadt_ray.processes.language.model import LanguageModel


class Texts:
    """Converts between tokens and text.

    Args:
        model: a language model with its tokenizer and the tokens that end a text.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer = model.tokenizer
        self.ends = _end_tokens(model)
        self._pieces: dict[int, str] = {}
        self._anchor = self._ids("a")[-1:]

    def piece(self, token: int) -> str:
        """The text of a token; empty for a special one. Bytes of an incomplete character are not joined."""
        if token not in self._pieces:
            self._pieces[token] = self._decode([*self._anchor, token])[len(self._decode(self._anchor)) :]
        return self._pieces[token]

    def said(self, tokens: Iterable[int]) -> str:
        """The text of tokens; negative tokens are left out."""
        return "".join(self.piece(int(token)) for token in tokens if token >= 0)

    def sample(self, tokens: Iterable[int]) -> str:
        """The text as a reader gets it, without special tokens."""
        return self._decode([int(token) for token in tokens if token >= 0])

    def tokens(self, text: str, after: str = "") -> tuple[int, ...]:
        """Tokens of a text that follows another one.

        Both are tokenized together, if that leaves the tokens of the first unchanged; otherwise the text alone.
        """
        both, before = self._ids(after + text), self._ids(after)
        return tuple(both[len(before) :] if both[: len(before)] == before else self._ids(text))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False)) if text else []

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _end_tokens(model: LanguageModel) -> frozenset[int]:
    """End tokens of the tokenizer and of the network's generation config. Raises ValueError if there is none."""
    config: Any = getattr(model.network, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    found = {model.tokenizer.eos_token_id, *(ends if isinstance(ends, (list, tuple)) else (ends,))} - {None}
    if not found:
        raise ValueError("the tokenizer has no token that ends a text; set its eos_token")
    return frozenset(int(token) for token in found)
