"""What a language model is asked: text, series with a text each, text; and the answers that there are.

The layout is OpenTSLM's, ``pre_prompt, (text_i, series_i)..., post_prompt``; a prompt without series is plain text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Prompt:
    """One question to a language model, the ``conditioning`` of a ``Problem``.

    Attributes:
        pre: the text before the series.
        texts: what is said of each series; as many as ``series``.
        series: each normalised as its stage wants it, float32 [T_i].
        post: the text after them.
        answers: every answer that there is, as a text says it after ``marker``; none where the text is the answer.
        marker: what announces the answer in a text, ``"Answer:"``; ``""`` where the text begins with it.
        ends: whether a text ends with its answer.
    """

    pre: str
    texts: tuple[str, ...] = ()
    series: tuple[Float[np.ndarray, " T"], ...] = ()
    post: str = ""
    answers: tuple[str, ...] = ()
    marker: str = "Answer:"
    ends: bool = True

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.series):
            raise ValueError(f"{len(self.texts)} texts describe {len(self.series)} series; give each series its text")
        if len(set(self.answers)) != len(self.answers):
            raise ValueError(f"an answer is named twice: {', '.join(self.answers)}")
