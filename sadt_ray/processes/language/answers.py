"""The answers of a prompt as a tree of tokens: answers with a common beginning share its tokens.

Enumerating them costs one evaluation per token that is followed by another token of an answer.
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

    ``steps[k]`` spells answer k: pairs of (preceding node, token), where node -1 is the text before the answer.
    """

    texts: tuple[str, ...]  # what each answer adds to the text so far
    steps: tuple[tuple[tuple[int, int], ...], ...]
    tokens: Int[np.ndarray, " N"]
    parents: Int[np.ndarray, " N"]  # parents before children; -1 at the top
    depths: Int[np.ndarray, " N"]  # 1 at the top

    def ancestors(self) -> Bool[np.ndarray, "N N"]:
        """Row n: the nodes on the path to node n, itself included."""
        seen = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def said_after(text: str, prompt: Prompt) -> str | None:
    """The part of a text after its marker; None if it has no marker yet, or if the prompt has no answers."""
    if not prompt.answers or prompt.marker not in text:
        return None
    return text.partition(prompt.marker)[2] if prompt.marker else ""


def choices_after(tail: str, prompt: Prompt, texts: Texts) -> Choices:
    """The ways to continue a text that ends with the marker and ``tail``.

    Raises:
        ValueError: if an answer is the beginning of another, and texts do not end with their answer.
    """
    space = (tail if tail.isspace() else " ") if prompt.marker else ""  # a line break will do
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
    """The node before each token, and the token. The end of the text is written as token -1."""
    path = [(nodes.get(tokens[:depth], -1), token) for depth, token in enumerate(tokens)]
    return (*path, (nodes.get(tokens, -1), -1)) if ends else tuple(path)


def _check_disjoint(answers: Sequence[str], spelled: Sequence[tuple[int, ...]]) -> None:
    for answer, tokens in zip(answers, spelled, strict=True):
        for other, longer in zip(answers, spelled, strict=True):
            if answer != other and longer[: len(tokens)] == tokens:
                raise ValueError(
                    f"the answer {other!r} begins with the answer {answer!r}, and texts do not end with their answer: "
                    "the two cannot be told apart; rename one of them, or set ends=True"
                )
