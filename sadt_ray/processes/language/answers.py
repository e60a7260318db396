"""The answers that there are, as a tree of tokens: those that begin alike share what they share.

Listing them costs one evaluation of every token after which something of an answer is still to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.processes.language.texts import Texts


class Choices(NamedTuple):
    """K answers over a tree of N tokens.

    ``steps[k]`` leads through answer k: pairs of (node after which, token), node -1 being the text before the answer.
    """

    texts: tuple[str, ...]  # what is added to the text so far
    steps: tuple[tuple[tuple[int, int], ...], ...]
    tokens: Int[np.ndarray, " N"]
    parents: Int[np.ndarray, " N"]  # parents before children; -1 at the top
    depths: Int[np.ndarray, " N"]  # 1 at the top

    def ancestors(self) -> Bool[np.ndarray, "N N"]:
        """Which nodes lead to each, itself included."""
        seen = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def said_after(text: str, prompt: Prompt) -> str | None:
    """What comes after the marker of a text's answer; None where it has not said it, or there is nothing to choose."""
    if not prompt.answers or prompt.marker not in text:
        return None
    return text.partition(prompt.marker)[2] if prompt.marker else ""


def choices_after(tail: str, prompt: Prompt, texts: Texts) -> Choices:
    """How a text can go on that has said the marker and ``tail``.

    Raises:
        ValueError: if an answer is the beginning of another, and texts do not end with theirs.
    """
    space = (tail if tail.isspace() else " ") if prompt.marker else ""  # a line's end after the marker is one, too
    left = [(space + answer)[len(tail) :] for answer in prompt.answers if (space + answer).startswith(tail)]
    spelled = [texts.tokens(text, prompt.marker + tail) for text in left]
    if not prompt.ends:
        _check_disjoint(left, spelled)
    nodes: dict[tuple[int, ...], int] = {}
    for tokens in sorted(spelled, key=len):
        for depth in range(1, len(tokens) + prompt.ends):
            nodes.setdefault(tokens[:depth], len(nodes))
    steps = tuple(_steps(tokens, nodes, prompt.ends) for tokens in spelled)
    return Choices(
        tuple(left),
        steps,
        np.array([path[-1] for path in nodes], np.int64),
        np.array([nodes.get(path[:-1], -1) for path in nodes], np.int64),
        np.array([len(path) for path in nodes], np.int64),
    )


def _steps(tokens: tuple[int, ...], nodes: dict[tuple[int, ...], int], ends: bool) -> tuple[tuple[int, int], ...]:
    """The node before each token, and the token; at last an end of the text, written as -1."""
    path = [(nodes.get(tokens[:depth], -1), token) for depth, token in enumerate(tokens)]
    return (*path, (nodes.get(tokens, -1), -1)) if ends else tuple(path)


def _check_disjoint(answers: Sequence[str], spelled: Sequence[tuple[int, ...]]) -> None:
    for answer, tokens in zip(answers, spelled, strict=True):
        for other, longer in zip(answers, spelled, strict=True):
            if answer != other and longer[: len(tokens)] == tokens:
                raise ValueError(
                    f"the answer {other!r} begins with the answer {answer!r}, and texts do not end with their answer: "
                    "the two cannot be told apart; name them otherwise, or set ends"
                )
