"""How good a stand-in is on held-out questions: greedy, sampled, voted, and how sure it is of what it votes for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sadt_ray.answers import MARKER, parse_answer
from sadt_ray.interfaces import Problem
from sadt_ray.metrics.calibration import calibration_error, reliability
from sadt_ray.processes.opentslm.encoder import PATCH
from sadt_ray.processes.opentslm.soft_prompt import SoftPromptModel, embed_prompts

_ROWS = 144  # texts that are generated at once,
_POSITIONS = 60_000  # and positions of their prompts: every text has a copy of its prompt's keys


class Judgement(NamedTuple):
    """Shares of questions answered correctly, standard errors aside.

    Attributes:
        questions: how many were asked.
        majority: of a guess of the most frequent label of these questions.
        greedy: of the most probable token at every step.
        sampled: of single draws, on average.
        voted: of the most frequent answer of the draws of a question.
        ece: expected calibration error of the vote's share, ten bins.
        readable: share of draws that give one of the answers.
        tokens: of a draw, on average.
        distinct: different texts among the draws of a question, as a share.
    """

    questions: int
    majority: float
    greedy: float
    sampled: float
    voted: float
    ece: float
    readable: float
    tokens: float
    distinct: float


def judge(
    model: SoftPromptModel, problems: Sequence[Problem], draws: int = 8, max_tokens: int = 120, seed: int = 0
) -> Judgement:
    """Ask every question greedily and ``draws`` times at sampling temperature one."""
    torch.manual_seed(seed)
    greedy: list[str] = []
    drawn: list[list[str]] = []
    tokens = 0
    ordered = sorted(problems, key=lambda p: len(p.conditioning.series[0]))
    longest = max(_positions(p) for p in ordered)
    size = max(1, min(_ROWS, _POSITIONS // longest) // (draws + 1))
    for some in [ordered[i : i + size] for i in range(0, len(ordered), size)]:
        texts, lengths = generate(model, some, draws, max_tokens)
        greedy += [rows[0] for rows in texts]
        drawn += [rows[1:] for rows in texts]
        tokens += int(lengths[:, 1:].sum())
    return _judgement(ordered, greedy, drawn, tokens / max(1, draws * len(ordered)))


def _positions(problem: Problem) -> int:
    """Of a prompt, roughly: its patches, and a hundred tokens."""
    return 100 + sum(len(series) for series in problem.conditioning.series) // PATCH


@torch.no_grad()
def generate(
    model: SoftPromptModel, problems: Sequence[Problem], draws: int, max_tokens: int
) -> tuple[list[list[str]], np.ndarray]:
    """Texts of each problem, the greedy one first, then the draws; and how many tokens each has."""
    prompts = [p.conditioning for p in problems]
    asked = embed_prompts(prompts, model.network, model.tokenizer, model.encoder, model.projector)
    table = model.network.get_input_embeddings()
    bos = table(torch.tensor(model.forced, dtype=torch.long))
    rows = [torch.cat([one, bos]) for one in asked]
    longest = max(map(len, rows))
    inputs = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    ids = _continue(model, inputs, mask, 1 + draws, max_tokens)
    eos = model.tokenizer.eos_token_id
    ended = (ids == eos).int().cumsum(1)
    lengths = (ended == 0).sum(1) + 1
    texts = model.tokenizer.batch_decode(torch.where(ended > 0, eos, ids), skip_special_tokens=True)
    per = 1 + draws
    return [texts[i * per : (i + 1) * per] for i in range(len(problems))], lengths.view(-1, per).numpy()


def _continue(model: SoftPromptModel, inputs: Tensor, mask: Tensor, per: int, max_tokens: int) -> Tensor:
    """Token ids [rows * per, steps]; the first row of each prompt takes the most probable token, the others draw."""
    from transformers import DynamicCache

    cache = DynamicCache()
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    out = model.network(inputs_embeds=inputs, attention_mask=mask, position_ids=positions, past_key_values=cache)
    cache.batch_repeat_interleave(per)
    mask, position = mask.repeat_interleave(per, 0), positions[:, -1:].repeat_interleave(per, 0)
    logits = out.logits[:, -1].repeat_interleave(per, 0)
    greedy = torch.arange(len(mask)) % per == 0
    steps: list[Tensor] = []
    over = torch.zeros(len(mask), dtype=torch.bool)
    while len(steps) < max_tokens and not over.all():
        drawn = torch.multinomial(logits.float().softmax(1), 1)[:, 0]
        token = torch.where(greedy, logits.argmax(1), drawn)
        steps.append(token)
        over |= token == model.tokenizer.eos_token_id
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        position = position + 1
        out = model.network(input_ids=token[:, None], attention_mask=mask, position_ids=position, past_key_values=cache)
        logits = out.logits[:, -1]
    return torch.stack(steps, 1)


def answer_in(text: str, problem: Problem) -> str | None:
    """The answer that a text gives, ``None`` if none of the prompt's answers."""
    prompt = problem.conditioning
    return parse_answer(text, prompt.answers, prompt.marker or MARKER)


def _judgement(problems: Sequence[Problem], greedy: list[str], drawn: list[list[str]], tokens: float) -> Judgement:
    gold = [p.extras["label"] for p in problems]
    first = [answer_in(text, p) for text, p in zip(greedy, problems, strict=True)]
    answers = [[answer_in(text, p) for text in texts] for texts, p in zip(drawn, problems, strict=True)]
    votes = [_vote(some) for some in answers]
    correct = np.array([vote == label for (vote, _), label in zip(votes, gold, strict=True)], float)
    sure = np.array([count / max(1, len(some)) for (_, count), some in zip(votes, answers, strict=True)])
    flat = [(a, label) for some, label in zip(answers, gold, strict=True) for a in some]
    return Judgement(
        questions=len(problems),
        majority=Counter(gold).most_common(1)[0][1] / len(gold),
        greedy=float(np.mean([a == label for a, label in zip(first, gold, strict=True)])),
        sampled=float(np.mean([a == label for a, label in flat])),
        voted=float(correct.mean()),
        ece=calibration_error(reliability(sure, correct)),
        readable=float(np.mean([a is not None for a, _ in flat])),
        tokens=tokens,
        distinct=float(np.mean([len(set(texts)) / len(texts) for texts in drawn])),
    )


def _vote(answers: Sequence[str | None]) -> tuple[str | None, int]:
    """The most frequent answer and how often it was given."""
    given = Counter(answer for answer in answers if answer is not None)
    return given.most_common(1)[0] if given else (None, 0)
