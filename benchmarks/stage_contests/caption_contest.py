"""The second stage: captions have no answer to vote on, so methods choose one of N texts, or the one most agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from benchmarks.stage_contests.contest import Size, stand_in_process
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.pool import Rationales, draw_rationales
from sadt_ray.opentslm.questions import spread
from sadt_ray.opentslm.rewards.claims import ClaimsReward
from sadt_ray.opentslm.rouge_bleu import rouge_l
from sadt_ray.opentslm.stand_in.library import held_out_problems

_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
_MOST_TOKENS = 160
Choice = Callable[["Captions"], int]


@dataclass(frozen=True)
class Captions:
    """N texts on one series, compared with each other, with the gold caption and with the series.

    Attributes:
        rouge: ROUGE-L of each pair.
        score: ROUGE-L with the gold caption.
        claims: the label-free reward of each.
        tokens: of each.
    """

    texts: list[str]
    rouge: Float[np.ndarray, "N N"]
    score: Float[np.ndarray, " N"]
    claims: Float[np.ndarray, " N"]
    tokens: Float[np.ndarray, " N"]

    def first(self, n: int) -> Captions:
        return Captions(
            self.texts[:n], self.rouge[:n, :n], self.score[:n], self.claims[:n], self.tokens[:n]
        )  # fmt: skip


@dataclass
class CaptionContest:
    """One stand-in, asked to describe.

    Attributes:
        scores, tokens: of each test question, by method and budget.
        weight: of the claims beside the consensus, from validation.
    """

    problems: list[Problem]
    texts: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    scores: dict[tuple[str, int], Float[np.ndarray, " n"]] = field(default_factory=dict)
    tokens: dict[tuple[str, int], Float[np.ndarray, " n"]] = field(default_factory=dict)
    weight: float = 0.0


def hold_caption_contest(seed: int, size: Size) -> CaptionContest:
    """Ask the captioning stand-in of one training seed, by every method at every budget."""
    process = stand_in_process(2, seed, _MOST_TOKENS)
    asked = spread(held_out_problems(2, seed, None, "test"), size.test)
    validation = spread(held_out_problems(2, seed, None, "validation"), size.validation)
    contest = CaptionContest(asked)
    greedy = draw_rationales(process.with_law(sampling_temperature=0.0), asked, 1, seed)
    pool = [_captions(drawn) for drawn in draw_rationales(process, asked, size.budgets[-1], seed)]
    piloted = [_captions(drawn) for drawn in draw_rationales(process, validation, size.pilot, seed + 1)]
    contest.weight = max(_WEIGHTS, key=lambda w: np.mean([c.score[agreed(c, w)] for c in piloted]))
    _enter(contest, "greedy", 1, [_captions(drawn) for drawn in greedy], lambda c: 0)
    _enter(contest, "sample", 1, [c.first(1) for c in pool], lambda c: 0)
    for n in size.budgets:
        some = [c.first(n) for c in pool]
        _enter(contest, "self-consistency", n, some, lambda c: agreed(c, 0.0))
        _enter(contest, "best-of-n", n, some, lambda c: int(c.claims.argmax()))
        _enter(contest, "sadt", n, some, lambda c: agreed(c, contest.weight))
        _enter(contest, "best-of-n oracle", n, some, lambda c: int(c.score.argmax()))
    return contest


def agreed(captions: Captions, weight: float) -> int:
    """Index of the caption of least risk under p exp(weight r), by weighted samples of p. Weight 0 is the vote."""
    tilted = weight * captions.claims
    mass = np.exp(tilted - tilted.max())
    return int((captions.rouge @ mass).argmax())


def _enter(contest: CaptionContest, method: str, n: int, pool: Sequence[Captions], choose: Choice) -> None:
    chosen = [choose(captions) for captions in pool]
    contest.texts[method, n] = [c.texts[i] for c, i in zip(pool, chosen, strict=True)]
    contest.scores[method, n] = np.array([c.score[i] for c, i in zip(pool, chosen, strict=True)])
    contest.tokens[method, n] = np.array([c.tokens.sum() for c in pool])


def _captions(drawn: Rationales) -> Captions:
    texts = [str(text) for text in drawn.texts]
    rouge = np.array([[rouge_l(one, other) for other in texts] for one in texts])
    score = np.array([rouge_l(text, str(drawn.problem.extras["answer"])) for text in texts])
    claims = ClaimsReward().bind([drawn.problem])(drawn.texts, np.zeros(len(texts), np.int64))
    return Captions(texts, rouge, score, np.asarray(claims, float), drawn.tokens.astype(float))
