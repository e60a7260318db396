"""Which answer a text claims.

The answer is read strictly after the marker. Case, quotes, markdown and a final period are ignored. A text that claims
no answer, two answers or something else gives ``None``. Words inside the reasons do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

MARKER = "Answer:"
_TOKENS = re.compile(r"<\|[^|>]*\|>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>", re.IGNORECASE)
_DECORATION = re.compile(r"[*`\"'“”‘’\\]+")
_GAPS = re.compile(r"[\s_\-‐‑–]+")
_EDGES = " \t.,;:!?()[]{}"
_OPTION = re.compile(r"\([a-z]\)")
_OPTION_FIRST = re.compile(r"(?:\(([a-z])\)|([a-z])(?=[).:]|$))[).:]*\s*", re.IGNORECASE)
_SECOND = re.compile(r"[\s,;/]*(?:or|and)?[\s,;/]*")
_STOPS = ".,;:!?"

# Other names of sleep stages. Rechtschaffen and Kales have a fourth stage, which OpenTSLM scores as the third.
_ALIASES = {
    "non rem stage 4": "non rem stage 3",
    "nrem stage 4": "non rem stage 3",
    "nrem stage 3": "non rem stage 3",
    "nrem stage 2": "non rem stage 2",
    "nrem stage 1": "non rem stage 1",
    "awake": "wake",
    "rem": "rem sleep",
}


def parse_answer(text: str, answers: Sequence[str], marker: str = MARKER) -> str | None:
    """The answer that a text claims, spelled as in ``answers``; ``None`` if it claims none of them.

    The line after the last ``marker`` counts. A text without a marker may begin with an option such as ``"(b)"``; with
    other answers, it must end with a colon and an answer.
    """
    text = _TOKENS.sub(" ", text)
    claim = _after_marker(text, marker)
    if answers and all(_OPTION.fullmatch(answer) for answer in answers):
        return _option(text if claim is None else claim, answers)
    if claim is None:
        claim = text.rpartition(":")[2] if ":" in text else ""
        return _known(tuple(answers)).get(canonical(claim))
    return _claimed(claim, tuple(answers))


def canonical(text: str) -> str:
    """An answer in lower case, with single spaces, without decoration and without punctuation at its ends."""
    return _GAPS.sub(" ", _DECORATION.sub("", text).lower()).strip(_EDGES)


def _after_marker(text: str, marker: str) -> str | None:
    found = list(_marker(marker).finditer(text))
    return text[found[-1].end() :] if found else None


@lru_cache(maxsize=8)
def _marker(marker: str) -> re.Pattern[str]:
    word = re.escape(marker.strip().rstrip(":"))
    return re.compile(rf"(?<![^\W_]){word}[*_`\"'\s]*:", re.IGNORECASE)


def _option(claim: str, answers: Sequence[str]) -> str | None:
    claim = _DECORATION.sub("", claim).strip()
    found = _OPTION_FIRST.match(claim)
    if found is None:
        return None
    option = f"({(found[1] or found[2]).lower()})"
    rest = claim[found.end() :]
    another = _OPTION.match(rest.lower(), _SECOND.match(rest).end())  # type: ignore[union-attr]
    return option if option in answers and another is None else None


def _claimed(claim: str, answers: tuple[str, ...]) -> str | None:
    """The answer that the first line of a claim equals; or begins with, if a stop follows and no other answer does."""
    line = next((line for line in claim.splitlines() if line.strip(_EDGES)), "")
    known, said = _known(answers), canonical(line)
    if said in known:
        return known[said]
    for name in sorted(known, key=len, reverse=True):
        if said.startswith(name) and said[len(name) :].lstrip(" )")[:1] in tuple(_STOPS):
            rest = canonical(said[len(name) :]).removeprefix("or ").removeprefix("and ")
            others = {known[other] for other in known if _begins_with(rest, other)} - {known[name]}
            return None if others else known[name]
    return None


def _begins_with(text: str, words: str) -> bool:
    return text.startswith(words) and not text[len(words) : len(words) + 1].isalnum()


@lru_cache(maxsize=256)
def _known(answers: tuple[str, ...]) -> dict[str, str]:
    """Answers by each of their spellings."""
    known = {canonical(answer): answer for answer in answers}
    aliases = {alias: known[name] for alias, name in _ALIASES.items() if name in known}
    return {**aliases, **known}
