"""A synthetic prior whose early claims decide the answer, to show what a search below the first sentence can gain.

A text makes three claims about a series, each drawn independently of the series, and an answer that follows from them
by a table. All three are right in one of eighteen texts. A reward that checks the claims improves claim by claim, so a
tree finds the right first claim and then the second below it; independent texts must have all three right at once. The
data are synthetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.stand_in.corpus import SPLITS, Split, one_of, with_extras
from sadt_ray.processes.language.prompt import Prompt

TRENDS = ("rises", "falls", "stays level")
RHYTHMS = ("slowly", "quickly", "not at all")
SCATTERS = ("grows", "shrinks")
COMBINATIONS = tuple((t, r, s) for t in range(3) for r in range(3) for s in range(2))
LABELS = tuple(ascii_uppercase[: len(COMBINATIONS)])
LENGTH = 64
_HELD_OUT = {"train": 240, "validation": 80, "test": 240}
_TREND_FORMS = ("First, the series {}.", "To begin with, it {}.")
_RHYTHM_FORMS = ("Second, it swings {}.", "Then, it oscillates {}.")
_SCATTER_FORMS = ("Third, its scatter {}.", "At last, the noise {}.")


class EarlyClaimsCorpus:
    """Series with one of 18 combinations of trend, rhythm and scatter; most texts claim another one."""

    stage = 0

    def __init__(self, seed: int = 0) -> None:
        self.clues: Mapping[str, int] = {}
        self._seed = seed

    def draw(self, rng: np.random.Generator) -> Problem:
        """Draw a question whose text makes uniformly random claims, with the answer that follows from them."""
        problem = _problem(rng, "early-claims/draw")
        return with_extras(problem, answer=claiming(one_of(rng, COMBINATIONS), rng))

    def problems(self, split: Split) -> list[Problem]:
        """The questions of a split, with the true answer as label and the true claims as text."""
        return [
            _problem(np.random.default_rng([self._seed, 66, SPLITS.index(split), i]), f"early-claims/{split}/{i:04d}")
            for i in range(_HELD_OUT[split])
        ]


class ClaimsReward:
    """Share of the three claims of a text that are true, minus one: 0 for all, -1 for none or no claims.

    It compares with the parameters that generated the series and does not use the label, so it is label-free.
    """

    oracle = False

    def bind(self, problems: Sequence[Problem]) -> _Claims:
        for problem in problems:
            if "claims" not in problem.extras:
                raise ValueError(
                    f"{problem.name} has no claims in its extras; take problems from early_claims_problems"
                )
        return _Claims([problem.extras["claims"] for problem in problems])


class _Claims:
    def __init__(self, true: list[tuple[int, int, int]]) -> None:
        self._true = true

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        shares = [_share(claims_in(str(text)), self._true[p]) for text, p in zip(samples, problem, strict=True)]
        return np.array(shares) - 1.0


def early_claims_problems(seed: int = 0, count: int = 240, split: Split = "test") -> list[Problem]:
    """Questions of the synthetic prior, with ``extras["claims"]`` and the true answer as ``extras["label"]``."""
    return EarlyClaimsCorpus(seed).problems(split)[:count]


def claims_in(text: str) -> tuple[int | None, int | None, int | None]:
    """The indices of the three claims of a text; ``None`` for a claim that it does not make."""
    return (
        _claim(text, _TREND_FORMS, TRENDS),
        _claim(text, _RHYTHM_FORMS, RHYTHMS),
        _claim(text, _SCATTER_FORMS, SCATTERS),
    )


def claiming(claims: tuple[int, int, int], rng: np.random.Generator) -> str:
    """A text with these claims and the answer that follows from them."""
    trend, rhythm, scatter = claims
    sentences = (
        one_of(rng, _TREND_FORMS).format(TRENDS[trend]),
        one_of(rng, _RHYTHM_FORMS).format(RHYTHMS[rhythm]),
        one_of(rng, _SCATTER_FORMS).format(SCATTERS[scatter]),
    )
    return " ".join((*sentences, f"Answer: {LABELS[COMBINATIONS.index(claims)]}"))


def _problem(rng: np.random.Generator, name: str) -> Problem:
    claims = one_of(rng, COMBINATIONS)
    series = _series(claims, rng)
    scaled = ((series - series.mean()) / series.std()).astype(np.float32)
    prompt = Prompt("A synthetic exercise.", ("The series:",), (scaled,), "State three claims.", LABELS)
    label = LABELS[COMBINATIONS.index(claims)]
    extras = {
        "stage": 0,
        "label": label,
        "answer": claiming(claims, rng),
        "source": name,
        "claims": claims,
        "clues": {},
    }
    return Problem(name, series, prompt, extras=extras)


def _series(claims: tuple[int, int, int], rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    trend, rhythm, scatter = claims
    time = np.arange(LENGTH) / LENGTH
    cycles = (rng.uniform(2, 3), rng.uniform(8, 11), 0.0)[rhythm]
    size = np.exp((1.2, -1.2)[scatter] * (time - 0.5))
    slope = (2.5, -2.5, 0.0)[trend]
    season = np.sin(2 * np.pi * (cycles * time + rng.random())) if cycles else 0.0
    noise: np.ndarray = slope * time + season + 0.3 * size * rng.standard_normal(LENGTH)
    return noise


def _share(claimed: Sequence[int | None], true: Sequence[int]) -> float:
    return float(np.mean([c == t for c, t in zip(claimed, true, strict=True)]))


def _claim(text: str, forms: Sequence[str], words: Sequence[str]) -> int | None:
    return next((i for i, word in enumerate(words) for form in forms if form.format(word) in text), None)
