"""The input of a language model: a text, series with a text each, another text; and the possible answers.

The layout is that of OpenTSLM, ``pre_prompt, (text_i, series_i)..., post_prompt``. A prompt without series is plain
text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Prompt:
    """One question to a language model, the ``conditioning`` of a ``Problem``.

    Attributes:
        pre: text before the series.
        texts: text of each series; as many as ``series``.
        series: float32 [T_i] each, normalised as the stage requires.
        post: text after the series.
        answers: all possible answers as a text writes them after ``marker``; empty if the whole text is the answer.
        marker: what announces the answer in a text, ``"Answer:"``; ``""`` if the text begins with the answer.
        ends: whether a text ends with its answer.

    Raises ValueError for different numbers of texts and series, or an answer that occurs twice.
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
            raise ValueError(f"an answer occurs twice: {', '.join(self.answers)}")
