"""Parse a reward from the text of a command line.

Examples: ``none``, ``second-opinion``, ``limit:max<1.5``, ``module:function``, and weighted sums such as
``"second-opinion + 0.5*limit:ramp<0.8"`` (a plus between spaces).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sadt_ray.interfaces import Reward
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rewards.limit import STATISTICS, LimitReward
from sadt_ray.rewards.second_opinion import SecondOpinionReward
from sadt_ray.rewards.spectral import SpectralReward

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WEIGHTED = re.compile(rf"({_NUMBER})\s*\*\s*(.+)")
_LIMIT = re.compile(rf"(\w+)\s*([<>])=?\s*({_NUMBER})(?:\s*,\s*margin\s*=\s*({_NUMBER}))?")
HELP = "none, second-opinion[:WEIGHT], limit:max<1.5 or module:function, or a sum of them such as 'A + 0.5*B'"


def parse_reward(spec: str, spectral: SpectralReward | None = None) -> WeightedSum:
    """Parse a reward, and add the spectral reward if it is given.

    Args:
        spec: terms joined by `` + ``, each with an optional factor ``0.5*``. A term is ``none``; ``second-opinion``,
            or ``second-opinion:0.3`` for other weights than the default; ``limit:STATISTIC<NUMBER`` or ``>``, with an
            optional ``,margin=NUMBER`` (0 is a hard limit); ``module:function``; or ``oracle:module:function`` for a
            function that reads the truth.
        spectral: reward that is added with weight 1.

    Raises:
        ValueError: with the term that cannot be parsed, and the terms that can.
    """
    terms = list(parse_sum(spec, _reward))
    if spectral is not None:
        terms.append((1.0, spectral))
    return WeightedSum(*terms)


def parse_sum(spec: str, reward_of: Callable[[str], Reward]) -> tuple[tuple[float, Reward], ...]:
    """Split a sum into pairs of factor and reward. Raises what ``reward_of`` raises for a term."""
    return tuple(_weighted(term.strip(), reward_of) for term in re.split(r"\s\+\s", spec))


def _weighted(term: str, reward_of: Callable[[str], Reward]) -> tuple[float, Reward]:
    match = _WEIGHTED.fullmatch(term)
    return (float(match[1]), reward_of(match[2])) if match else (1.0, reward_of(term))


def _reward(term: str) -> Reward:
    name, separator, rest = term.partition(":")
    if term == "none":
        return WeightedSum()
    if name in ("second-opinion", "second_opinion"):
        return _second_opinion(rest) if separator else SecondOpinionReward()
    if name == "oracle" and separator:
        return FunctionReward(rest, oracle=True)
    if name == "limit" and separator:
        return _limit(rest)
    if separator:
        return FunctionReward(term)
    raise ValueError(f"unknown reward {term!r}; write {HELP}")


def _second_opinion(weights: str) -> SecondOpinionReward:
    numbers = weights.split(",")
    if not all(re.fullmatch(_NUMBER, number.strip()) for number in numbers):
        raise ValueError(
            f"second-opinion takes one weight, or one for each opinion, as in second-opinion:0.3 or "
            f"second-opinion:0,0,0.25; got {weights!r}"
        )
    return SecondOpinionReward(tuple(map(float, numbers)) if len(numbers) > 1 else float(weights))


def _limit(rest: str) -> LimitReward:
    match = _LIMIT.fullmatch(rest.strip())
    if not match:
        raise ValueError(
            f"a limit is written limit:STATISTIC<NUMBER or limit:STATISTIC>NUMBER, for example limit:max<1.5 or "
            f"limit:max<1.5,margin=0; statistics: {', '.join(STATISTICS)}; got {rest!r}"
        )
    statistic, side, bound, margin = match[1], match[2], float(match[3]), float(match[4] or 1.0)
    return LimitReward(
        upper=bound if side == "<" else None,
        lower=bound if side == ">" else None,
        statistic=statistic,
        margin=margin,
    )
