"""Train a stand-in: the tokenizer, the encoder alone, the language model alone, then both together with the projector.

The language model first learns the form of the answers from texts without their questions. Such a step costs a tenth of
a step with the question, and only the dependence on the series is left for the last phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel, embed_prompts
from sadt_ray.opentslm.stand_in.base_model import constant_lines, fit_tokenizer, tiny_llama
from sadt_ray.opentslm.stand_in.corpus import Corpus
from sadt_ray.opentslm.stand_in.warm_up import warm_up
from sadt_ray.processes.language.prompt import Prompt

_SHORT = 512
Report = Callable[[str, int, int, float], None]  # phase, step, number of steps, loss


@dataclass(frozen=True)
class FitStandInConfig:
    """Settings of the training.

    Attributes:
        warm_up_steps, text_steps, joint_steps: gradient steps of the three phases.
        warm_up_batch, text_batch, batch: questions per step of these phases.
        warm_up_series: most series per question in a step of the warm-up, drawn anew for each step.
        asks: whether texts follow their questions in the second phase, for stages with several questions.
        learning_rate: learning rate of language model and projector.
        encoder_rate: learning rate of the encoder in the last phase.
        warm_up_rate: learning rate of the encoder alone.
        answer_weight: weight of the answer's tokens in the loss; other tokens have weight 1.
    """

    warm_up_steps: int = 200
    text_steps: int = 200
    asks: bool = False
    joint_steps: int = 160
    warm_up_batch: int = 32
    warm_up_series: int = 3
    text_batch: int = 32
    batch: int = 16
    learning_rate: float = 2e-3
    encoder_rate: float = 4.5e-4
    warm_up_rate: float = 1e-3
    ramp: int = 40
    answer_weight: float = 5.0
    tokenizer_texts: int = 400

    def __post_init__(self) -> None:
        if min(self.joint_steps, self.batch, self.warm_up_batch) < 1 or self.warm_up_steps < 0:
            raise ValueError(f"steps and batches must be at least one, got {self}")


def fit_stand_in(
    corpus: Corpus,
    config: FitStandInConfig,
    seed: int,
    report: Report = lambda phase, step, of, loss: None,
) -> SoftPromptModel:
    """Train a tiny OpenTSLM-SP from scratch on a corpus. Seeds the global generator of torch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    sample = [corpus.draw(rng) for _ in range(config.tokenizer_texts)]
    tokenizer = fit_tokenizer((p.extras["answer"] for p in sample), constant_lines([p.conditioning for p in sample]))
    network = tiny_llama(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    encoder = gentle(SeriesEncoder())
    projector = Projector(network.config.hidden_size)
    if config.warm_up_steps:
        warm_up(
            encoder,
            lambda: draw_alike(corpus, rng, config.warm_up_batch),
            corpus.clues,
            config.warm_up_steps,
            config.warm_up_rate,
            lambda step, loss: report("encoder", step, config.warm_up_steps, loss),
            config.warm_up_series,
        )
    model = SoftPromptModel(network, tokenizer, encoder, projector)
    _texts_alone(model, corpus, config, rng, report)
    _joint(model, corpus, config, rng, report)
    for module in (network, encoder, projector):
        module.eval().requires_grad_(False)
    return model


def gentle(encoder: SeriesEncoder) -> SeriesEncoder:
    """Scale down position embeddings and the last layers of all residual branches, so that post-norm layers train."""
    layers: Any = encoder.encoder
    with torch.no_grad():
        encoder.pos_embed.mul_(0.1)
        for layer in layers.layers:
            layer.self_attn.out_proj.weight.mul_(0.3)
            layer.linear2.weight.mul_(0.3)
    return encoder


def draw_alike(corpus: Corpus, rng: np.random.Generator, count: int) -> list[Problem]:
    """Draw questions whose series all have the same length."""
    problems = [corpus.draw(rng)]
    length = len(problems[0].conditioning.series[0])
    while len(problems) < count:
        problem = corpus.draw(rng)
        if len(problem.conditioning.series[0]) == length:
            problems.append(problem)
    return problems


def _texts_alone(
    model: SoftPromptModel, corpus: Corpus, config: FitStandInConfig, rng: np.random.Generator, report: Report
) -> None:
    groups = [{"params": list(model.network.parameters()), "lr": config.learning_rate}]

    def loss(step: int) -> Tensor:
        problems = [corpus.draw(rng) for _ in range(config.text_batch)]
        return answer_loss(model, [_bare(p, config.asks) for p in problems], config.answer_weight)

    _descend("texts", groups, loss, config.text_steps, config.ramp, report)


def _joint(
    model: SoftPromptModel, corpus: Corpus, config: FitStandInConfig, rng: np.random.Generator, report: Report
) -> None:
    fast = [*model.network.parameters(), *model.projector.parameters()]
    groups = [
        {"params": fast, "lr": config.learning_rate},
        {"params": list(model.encoder.parameters()), "lr": config.encoder_rate},
    ]

    def loss(step: int) -> Tensor:
        return answer_loss(model, draw_alike(corpus, rng, config.batch), config.answer_weight)

    _descend("joint", groups, loss, config.joint_steps, config.ramp, report)


def _descend(
    phase: str, groups: list[dict[str, Any]], loss: Callable[[int], Tensor], steps: int, ramp: int, report: Report
) -> None:
    """Minimise a loss by AdamW with a linear warm-up, then a cosine schedule; gradients are clipped at norm 1."""
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / ramp) * (0.02 + 0.49 * (1 + np.cos(np.pi * step / steps)))
    )
    parameters = [parameter for group in groups for parameter in group["params"]]
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        report(phase, step + 1, steps, value.item())


def answer_loss(
    model: SoftPromptModel,
    problems: Sequence[Problem],
    answer_weight: float = 1.0,
) -> Tensor:
    """Mean cross entropy of ``BOS + text + EOS`` after the prompts, with weights for the tokens of the answer."""
    prompts = [p.conditioning for p in problems]
    tokens, weights = zip(*(_target(p, model.tokenizer, answer_weight) for p in problems), strict=True)
    table = model.network.get_input_embeddings()
    with torch.autocast("cpu", torch.bfloat16):
        with fast_attention(prompts):
            asked = embed_prompts(prompts, model.network, model.tokenizer, model.encoder, model.projector)
        rows = [torch.cat([p.float(), table(t)]) for p, t in zip(asked, tokens, strict=True)]
        hidden = model.network.model(inputs_embeds=nn.utils.rnn.pad_sequence(rows, batch_first=True)).last_hidden_state
        kept = torch.cat([h[len(p) : len(p) + len(t) - 1] for h, p, t in zip(hidden, asked, tokens, strict=True)])
        logits = model.network.lm_head(kept).float()
    losses = functional.cross_entropy(logits, torch.cat([t[1:] for t in tokens]), reduction="none")
    weight = torch.cat([w[1:] for w in weights])
    return (losses * weight).sum() / weight.sum()


def fast_attention(prompts: Sequence[Prompt]) -> Any:
    """Use plain matrix products for short series: on a CPU they train twice as fast as the fused kernel."""
    short = all(len(series) <= _SHORT for prompt in prompts for series in prompt.series)
    return sdpa_kernel(SDPBackend.MATH) if short else nullcontext()


def _bare(problem: Problem, asked: bool) -> Problem:
    """A question without its series, and without its text unless ``asked``."""
    prompt = replace(problem.conditioning, texts=(), series=())
    return replace(problem, conditioning=prompt if asked else replace(prompt, pre="", post=""))


def _target(problem: Problem, tokenizer: Any, answer_weight: float) -> tuple[Tensor, Tensor]:
    """Tokens of BOS + text + EOS, and their weights in the loss."""
    text: str = problem.extras["answer"]
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids = [*encoded.input_ids, tokenizer.eos_token_id]
    marker = problem.conditioning.marker
    begin = text.rfind(marker) + len(marker) if marker else 0
    end = len(text) if problem.conditioning.ends else begin + len(problem.extras["label"] or "")
    inside = [low < end and high > begin and high > low for low, high in encoded.offset_mapping]
    heavy = [answer_weight if hit and problem.conditioning.answers else 1.0 for hit in inside]
    return torch.tensor(ids), torch.tensor([*heavy, 1.0])
