"""Five stages on trained stand-ins: greedy, votes, best-of-N and search, at equal numbers of rationales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from benchmarks import BenchResult
from benchmarks.stage_contests.caption_contest import CaptionContest, hold_caption_contest
from benchmarks.stage_contests.contest import Contest, Said, Size, hold_contest
from sadt_ray.interfaces import Problem
from sadt_ray.metrics.clustered import clustered_mean, paired_difference
from sadt_ray.opentslm.metrics.stages import score_stage
from sadt_ray.opentslm.rewards.answers import source_of
from sadt_ray.opentslm.stage_spec import STAGES
from sadt_ray.opentslm.stand_in.library import WHAT

QUESTION = "What do votes and search add to stand-ins for OpenTSLM, for the tokens they cost?"

_FULL = Size()
_SMALLER = {  # comparing captions is quadratic in them; prompts of twelve leads are long
    2: replace(_FULL, test=150, validation=80),
    5: replace(_FULL, test=80, validation=60, budgets=(4, 8, 16), pilot=8, tree_questions=40),
}
_QUICK = Size(test=24, validation=24, budgets=(2, 4), pilot=4, trees=(4,), tree_questions=8)
_COLUMNS = ("accuracy", "accuracy_se", "macro_f1", "kappa", "rouge_l", "ece")


def run(quick: bool) -> BenchResult:
    size, stages, seeds = (_QUICK, (3,), (0,)) if quick else (_FULL, tuple(STAGES), (0, 1))
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    notes = [WHAT]
    for stage in stages:
        of_stage = size if quick else _SMALLER.get(stage, size)
        part = _captions(seeds, of_stage) if stage == 2 else _answers(stage, seeds, of_stage)
        rows += part.rows
        figures |= part.figures
        notes += part.notes
    notes.append(
        f"Seeds of training {', '.join(map(str, seeds))}; errors are over sources. Tokens: generated and scored, per "
        "question. A method marked oracle reads the gold answers. sadt: answers listed, tilted by the spectrum of the "
        "claimed label (captions: by whether claims are true), its weight from validation; sadt-verifier: by a "
        "verifier learned on validation questions. dts: on the first questions only."
    )
    return BenchResult(rows, figures, notes)


def _answers(stage: int, seeds: Sequence[int], size: Size) -> BenchResult:
    contests = [hold_contest(stage, seed, size) for seed in seeds]
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    for method, n in contests[0].said:
        problems, said = _joined(contests, (method, n))
        texts = [answer or "" for answer in said.answers]
        scores = score_stage(stage, texts, problems, said.probabilities, said.answers)
        rows.append(_row(stage, method, n, len(problems), float(said.tokens.mean()), scores))
        figures |= _figures(stage, method, n, float(said.tokens.mean()), scores, ("accuracy", "f1", "kappa"))
    notes = [_differences(stage, contests, size, figures)]
    weights = "; ".join(
        f"seed {seed}: {c.weight:g}, templates alone right for {c.template_accuracy:.3f}"
        for seed, c in zip(seeds, contests, strict=True)
    )
    figures[f"stage{stage}_template_accuracy"] = float(np.mean([c.template_accuracy for c in contests]))
    return BenchResult(
        rows, figures, [*notes, f"Stage {stage}, weight of the spectral reward, from validation: {weights}."]
    )


def _joined(contests: Sequence[Contest], key: tuple[str, int]) -> tuple[list[Problem], Said]:
    """The problems and answers of all seeds together. A tree has answered only the first questions of each."""
    parts = [contest.said[key] for contest in contests]
    problems = [contest.problems[: len(part.answers)] for contest, part in zip(contests, parts, strict=True)]
    return list(chain.from_iterable(problems)), Said(
        list(chain.from_iterable(part.answers for part in parts)),
        list(chain.from_iterable(part.probabilities for part in parts)),
        np.concatenate([part.tokens for part in parts]),
    )


def _correct(contests: Sequence[Contest], key: tuple[str, int], count: int | None = None) -> np.ndarray:
    """Whether each answer is right; of the first ``count`` questions of each seed."""
    right = [
        [answer == problem.extras["label"] for answer, problem in zip(c.said[key].answers, c.problems, strict=False)]
        for c in contests
    ]
    return np.array(list(chain.from_iterable(row[:count] for row in right)), float)


def _differences(stage: int, contests: Sequence[Contest], size: Size, figures: dict[str, float]) -> str:
    """Paired: the eightfold saving, the reward against the plain vote, the tree against the flat search."""
    least, most = size.budgets[0], size.budgets[-1]
    pairs = [
        (f"sadt_{least}_minus_self_consistency_{most}", ("sadt", least), ("self-consistency", most)),
        (f"answer_vote_{least}_minus_self_consistency_{most}", ("answer-vote", least), ("self-consistency", most)),
        (f"sadt_verifier_{least}_minus_self_consistency_{most}", ("sadt-verifier", least), ("self-consistency", most)),
        *((f"sadt_minus_answer_vote_{n}", ("sadt", n), ("answer-vote", n)) for n in size.budgets),
        *((f"sadt_verifier_minus_answer_vote_{n}", ("sadt-verifier", n), ("answer-vote", n)) for n in size.budgets),
        *((f"dts_minus_sadt_{n}", ("dts", n), ("sadt", n)) for n in size.trees),
    ]
    said = []
    for name, ours, theirs in pairs:
        count = size.tree_questions if "dts" in name else None
        problems = chain.from_iterable(contest.problems[:count] for contest in contests)
        sources = [source_of(problem) for problem in problems]
        estimate = paired_difference(_correct(contests, ours, count), _correct(contests, theirs, count), sources)
        figures[f"stage{stage}_{name}"] = estimate.value
        figures[f"stage{stage}_{name}_se"] = estimate.standard_error
        said.append(f"{name.replace('_', ' ')} {estimate.value:+.4f} ± {estimate.standard_error:.4f}")
    return f"Stage {stage}, paired differences in accuracy: {'; '.join(said)}."


def _captions(seeds: Sequence[int], size: Size) -> BenchResult:
    contests = [hold_caption_contest(seed, size) for seed in seeds]
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    problems = list(chain.from_iterable(contest.problems for contest in contests))
    for method, n in contests[0].texts:
        texts = list(chain.from_iterable(contest.texts[method, n] for contest in contests))
        tokens = float(np.mean([contest.tokens[method, n].mean() for contest in contests]))
        scores = score_stage(2, texts, problems)
        rows.append(_row(2, method, n, len(problems), tokens, scores))
        figures |= _figures(2, method, n, tokens, scores, ("rouge_l",))
    return BenchResult(rows, figures, [_caption_differences(contests, problems, size, figures)])


def _caption_differences(
    contests: Sequence[CaptionContest], problems: Sequence[Problem], size: Size, figures: dict[str, float]
) -> str:
    sources, said = [source_of(problem) for problem in problems], []
    least, most = size.budgets[0], size.budgets[-1]
    pairs = [
        (f"sadt_{least}_minus_self_consistency_{most}", ("sadt", least), ("self-consistency", most)),
        *((f"sadt_minus_self_consistency_{n}", ("sadt", n), ("self-consistency", n)) for n in size.budgets),
    ]
    for name, ours, theirs in pairs:
        difference = np.concatenate([contest.scores[ours] - contest.scores[theirs] for contest in contests])
        estimate = clustered_mean(difference, sources)
        figures[f"stage2_{name}"], figures[f"stage2_{name}_se"] = estimate.value, estimate.standard_error
        said.append(f"{name.replace('_', ' ')} {estimate.value:+.4f} ± {estimate.standard_error:.4f}")
    weights = ", ".join(f"{contest.weight:g}" for contest in contests)
    return f"Stage 2, paired differences in ROUGE-L: {'; '.join(said)}. Weight of the claims: {weights}."


def _row(stage: int, method: str, n: int, count: int, tokens: float, scores: dict[str, Any]) -> dict[str, object]:
    return {
        "stage": f"{stage} {STAGES[stage].name}", "method": method, "N": n, "questions": count, "tokens": tokens,
        **{name: scores.get(name) for name in _COLUMNS},
    }  # fmt: skip


def _figures(
    stage: int, method: str, n: int, tokens: float, scores: dict[str, Any], names: Sequence[str]
) -> dict[str, float]:
    key = f"stage{stage}_{method.replace('-', '_').replace(' ', '_')}" + (f"_{n}" if n > 1 else "")
    found = {f"{key}_{name}": scores["macro_f1" if name == "f1" else name] for name in names}
    error = scores["rouge_l_se" if "rouge_l" in names else "accuracy_se"]
    return {**found, f"{key}_se": error, f"{key}_tokens": tokens}
