"""The figures that OpenTSLM's own scripts would print, with their defects, for comparison with published numbers.

Their names end in ``_upstream``; they are never the result of a method. The defects by stage:

1. A prediction is correct if the gold answer begins with it, so an empty text and ``"("`` are correct. The macro-F1
   compares the first three characters, over the classes that occur.
3. A text is cut at its first quotation mark, because its JSON escapes it. Accuracy requires the same final period.
4. ``Answer:Wake`` is not parsed; the whole text is then searched for names of stages.
5. The macro-F1 of a template counts each answer that never occurs as 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_PUNCTUATION = ".,!?;:"


class Upstream(NamedTuple):
    """What upstream reads from the texts and the gold texts of n examples."""

    accurate: list[bool]
    claims: list[str]
    truths: list[str]


def upstream_scores(
    stage: int, texts: Sequence[str], golds: Sequence[str], answers: Sequence[Sequence[str]], groups: Sequence[str]
) -> dict[str, float]:
    """``accuracy_upstream`` and ``macro_f1_upstream`` of generated texts; empty for stage 2.

    Args:
        stage: number of the stage.
        texts: generated texts.
        golds: gold texts, reasons included.
        answers: possible answers of each question.
        groups: template of each question (5).
    """
    if stage == 2:
        return {}
    read = {1: _tsqa, 3: _har, 4: _sleep, 5: _ecg}[stage](texts, golds, answers)
    known = {1: set(read.truths), 3: set(answers[0]), 4: set(read.truths)}
    scores = {"accuracy_upstream": float(np.mean(read.accurate))}
    if stage != 5:
        return {**scores, "macro_f1_upstream": _macro_f1(read.claims, read.truths, known[stage])}
    of_group: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        of_group.setdefault(group, []).append(i)
    f1 = [
        _macro_f1([read.claims[i] for i in rows], [read.truths[i] for i in rows], {a.lower() for a in answers[rows[0]]})
        for rows in of_group.values()
    ]
    weighted = float(np.average(f1, weights=[len(rows) for rows in of_group.values()]))
    return {**scores, "macro_f1_upstream": float(np.mean(f1)), "macro_f1_weighted_upstream": weighted}


def _tsqa(texts: Sequence[str], golds: Sequence[str], answers: Sequence[Sequence[str]]) -> Upstream:
    pairs = [(text.strip(), gold.strip()) for text, gold in zip(texts, golds, strict=True)]
    accurate = [gold.startswith(text) for text, gold in pairs]
    return Upstream(accurate, [_bare(text[:3]) for text, _ in pairs], [_bare(gold[:3]) for _, gold in pairs])


def _har(texts: Sequence[str], golds: Sequence[str], answers: Sequence[Sequence[str]]) -> Upstream:
    def read(text: str) -> str:
        written = json.dumps(text, ensure_ascii=False)[1:-1]
        return _after_answer(written.partition('"')[0], _without_last_token).replace("<eos>", "")

    claims, truths = [read(text) for text in texts], [read(gold) for gold in golds]
    accurate = [claim == truth for claim, truth in zip(claims, truths, strict=True)]
    return Upstream(accurate, [_bare(claim) for claim in claims], [_bare(truth) for truth in truths])


def _sleep(texts: Sequence[str], golds: Sequence[str], answers: Sequence[Sequence[str]]) -> Upstream:
    truths = [_sleep_stage(_after_answer(gold, _without_tokens_and_period)) for gold in golds]
    claims = [_sleep_stage(_after_answer(text, _without_tokens_and_period)) for text in texts]
    known = {truth.lower(): truth for truth in truths}
    claims = [known.get(claim.lower(), claim) for claim in claims]
    accurate = [claim == truth for claim, truth in zip(claims, truths, strict=True)]
    return Upstream(accurate, [claim.lower() for claim in claims], [truth.lower() for truth in truths])


def _ecg(texts: Sequence[str], golds: Sequence[str], answers: Sequence[Sequence[str]]) -> Upstream:
    claims = [_bare(_after_answer(text, _without_tokens_and_period)) for text in texts]
    truths = [_bare(_after_answer(gold, _without_tokens_and_period)) for gold in golds]
    accurate = [
        claim == truth and truth in {answer.lower().strip() for answer in known}
        for claim, truth, known in zip(claims, truths, answers, strict=True)
    ]
    return Upstream(accurate, claims, truths)


def _after_answer(text: str, clean: Callable[[str], str]) -> str:
    """The part after the last ``"Answer: "``, cleaned; the unchanged text if there is none."""
    return clean(text.split("Answer: ")[-1].strip()) if "Answer: " in text else text


def _without_last_token(answer: str) -> str:
    return re.sub(r"<\|.*?\|>$", "", answer).strip()


def _without_tokens_and_period(answer: str) -> str:
    return re.sub(r"\.$", "", re.sub(r"<\|.*?\|>|<eos>$", "", answer).strip()).strip()


def _sleep_stage(text: str) -> str:
    """The stage whose name occurs anywhere in the text."""
    cleaned = _without_tokens_and_period(text.strip())
    lowered = cleaned.lower()
    if "non-rem" in lowered or "nrem" in lowered:
        lowered = lowered.replace("nrem", "non-rem").replace("non rem", "non-rem")
    if "non-rem" in lowered:
        for said, meant in ((4, 3), (3, 3), (2, 2), (1, 1)):
            if f"stage {said}" in lowered:
                return f"Non-REM stage {meant}"
    if "rem" in lowered and "sleep" in lowered:
        return "REM sleep"
    if lowered in ("wake", "awake"):
        return "Wake"
    return "Movement" if "movement" in lowered or lowered in ("mov", "mt") else cleaned


def _bare(text: str) -> str:
    return text.lower().strip().rstrip(_PUNCTUATION)


def _macro_f1(claims: Sequence[str], truths: Sequence[str], known: set[str]) -> float:
    """Macro-F1 over the known and the true classes; a claim of another class is not a false positive."""
    pairs = [(claim if claim in known else None, truth) for claim, truth in zip(claims, truths, strict=True)]
    scores = []
    for name in known | set(truths):
        hits = sum(claim == truth == name for claim, truth in pairs)
        named = sum(truth == name for _, truth in pairs) + sum(claim == name for claim, _ in pairs)
        scores.append(2 * hits / named if named else 0.0)
    return float(np.mean(scores))
