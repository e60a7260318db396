"""What does it cost to continue many texts from one prompt?"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import BenchResult
from benchmarks.apparatus.continuations import WAYS, RandomModel
from sadt_ray.interfaces import Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.opentslm.data.problems import stage_problem
from sadt_ray.opentslm.model.sizes import shape_of, sizes
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.chain import TextChain
from sadt_ray.processes.language.prefix import prefill
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.prompt import Prompt

QUESTION = "What do many texts from one prompt cost, against a prefill for each and against plain batched generation?"
STAND_IN: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
STAND_IN_PROMPT = 150  # positions: its tokenizer has every long line of a prompt as one token
_STAGES = {1: "TSQA", 2: "M4", 3: "HAR", 4: "Sleep", 5: "ECG"}
_BASES = ("llama-3.2-1b", "llama-3.2-3b", "gemma-3-270m", "gemma-3-1b-pt")
_MEASURED = ("gemma-3-270m", "llama-3.2-1b")
_SHAPES = ((150, 4, 64), (150, 16, 64), (150, 64, 64), (500, 16, 64), (1500, 16, 32), (500, 64, 32))
_BRANCHES, _BLOCK, _ROWS, _TEXT = 16, 32, 64, 96


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    positions = {stage: prompt_positions(stage) for stage in _STAGES}
    network, repeats = stand_in(), 1 if quick else 2
    rows, figures = _speedups(network, positions[3], repeats)
    rate, spent = _rate(network, repeats)
    figures |= {"tokens_per_second": rate}
    rows.append(_row("stand-in", "whole chain", STAND_IN_PROMPT, _ROWS, _TEXT, seconds=spent, rate=rate))
    for prompt, count, length in _SHAPES[1:3] if quick else _SHAPES:
        timed = _timed(RandomModel(network, prompt), count, length, repeats)
        for way, seconds in timed.items():
            rate = count * length / seconds
            rows.append(_row("stand-in", way, prompt, count, length, seconds=seconds, rate=rate))
            figures[f"{re.sub('[^a-z0-9]+', '_', way.lower())}_{prompt}_{count}_{length}"] = rate
    rows += _sizes(positions, measured=() if quick else _MEASURED)
    return BenchResult(rows, figures, _NOTES)


def stand_in() -> Any:
    """The shape of the trained stand-ins, 0.9 M parameters, with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**STAND_IN, vocab_size=560, tie_word_embeddings=True)).eval()


def prompt_positions(stage: int) -> int:
    """Positions of a stage's prompt: a patch is four samples; a word, a sign or three digits count as one token."""
    prompt = stage_problem(stage, _ROW[stage](np.random.default_rng(stage)), "one").conditioning
    texts = sum(
        len(re.findall(r"\d{1,3}|[^\W\d]+|[^\w\s]|\n", text)) for text in (prompt.pre, *prompt.texts, prompt.post)
    )
    return texts + len(prompt.texts) + 2 + sum(-(-len(series) // 4) for series in prompt.series)


def _speedups(network: Any, positions: int, repeats: int) -> tuple[list[dict[str, object]], dict[str, float]]:
    """The same texts from the same seeds: with one prefill each, one after the other, and as branches."""

    def together() -> int:
        return _drawn(_chain(network, positions, _BLOCK), np.arange(_BRANCHES))

    def one_by_one() -> int:
        return sum(_drawn(_chain(network, positions, _BLOCK), np.array([branch])) for branch in range(_BRANCHES))

    tokens = together()
    rounds = [(_best(one_by_one, 1), _best(together, 1)) for _ in range(1 + repeats)]
    alone, shared = sorted(rounds, key=lambda pair: pair[0] / pair[1])[len(rounds) // 2]
    rows = [
        _row("stand-in", "a prefill each", positions, _BRANCHES, _BLOCK, seconds=alone, rate=tokens / alone),
        _row("stand-in", "one prefill", positions, _BRANCHES, _BLOCK, seconds=shared, rate=tokens / shared),
    ]
    rows[1]["speed-up"] = alone / shared
    return rows, {"speedup_prefix": alone / shared}


def _timed(model: RandomModel, count: int, length: int, repeats: int) -> dict[str, float]:
    """Seconds of every way to continue."""
    seconds = {}
    for way, call in WAYS.items():
        call(model, count, 2)  # warm up
        seconds[way] = _best(lambda call=call: call(model, count, length), repeats)  # type: ignore[misc]
    return seconds


def _rate(network: Any, repeats: int) -> tuple[float, float]:
    """Tokens per second of the whole chain, and the seconds taken."""
    chain = _chain(network, STAND_IN_PROMPT, _TEXT)
    _drawn(chain, np.arange(4))
    best = (0.0, 0.0)
    for repeat in range(repeats):
        started = time.process_time()
        tokens = _drawn(chain, np.arange(_ROWS) + (1 + repeat) * _ROWS)
        spent = time.process_time() - started
        best = max(best, (tokens / spent, spent))
    return best


def _chain(network: Any, positions: int, tokens: int) -> TextChain:
    process = CausalLMProcess(
        RandomModel(network, positions), max_tokens=tokens, blocks=Blocks("tokens", 16, 6), answers="sampled"
    )
    return process.bind([Problem("prompt", np.zeros(1), Prompt("prompt"))])


def _drawn(chain: TextChain, numbers: np.ndarray) -> int:
    """Tokens of texts, numbered by their seeds."""
    problem = np.zeros(len(numbers), np.int64)
    path = chain.run_down(chain.root_states()[problem], problem, problem, derive_seeds(0, 0, numbers))
    return int(path.nfe.sum())


def _sizes(positions: dict[int, int], measured: tuple[str, ...]) -> list[dict[str, object]]:
    """The published models at every stage's prompt, by their shapes; some of them evaluated, with random weights."""
    rows = []
    for base in _BASES:
        size = sizes(base)
        network = _half(base) if base in measured else None
        for stage, prompt in positions.items():
            cache = size.cache_bytes(prompt) / 1e6
            row = _row(base, f"{_STAGES[stage]}, shared", prompt, _BRANCHES, weights=size.bytes() / 1e9, cache=cache)
            row["MB copied"] = cache * _BRANCHES
            if network is not None:
                row |= _measured(network, prompt)
            rows.append(row)
    return rows


@torch.inference_mode()
def _measured(network: Any, positions: int, length: int = 4) -> dict[str, object]:
    """Seconds of the prompt, and tokens per second of the branches after it."""
    started = time.process_time()
    prefix = prefill(RandomModel(network, positions), Prompt(""))
    spent = time.process_time() - started
    branches, slots = Branches(network, [(prefix, _BRANCHES)], 1 + length), torch.zeros(_BRANCHES, 1, dtype=torch.long)
    branches.feed(slots, slots)
    started = time.process_time()
    for slot in range(1, 1 + length):
        branches.feed(slots, slots + slot)
    return {"tokens": length, "s": spent, "tokens/s": _BRANCHES * length / (time.process_time() - started)}


def _half(base: str) -> Any:
    """A published shape in bfloat16 with random weights."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(shape_of(base), dtype=torch.bfloat16).eval()


def _best(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest call: of the one thread that computes, so that a busy machine does not matter."""
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        spent.append(time.process_time() - started)
    return min(spent)


def _row(
    model: str, way: str, prompt: int, branches: int, tokens: int | None = None, seconds: float | None = None,
    rate: float | None = None, weights: float | None = None, cache: float | None = None,
) -> dict[str, object]:  # fmt: skip
    return {
        "model": model, "way": way, "prompt": prompt, "branches": branches, "tokens": tokens, "s": seconds,
        "tokens/s": rate, "speed-up": None, "GB weights": weights, "MB cache": cache, "MB copied": None,
    }  # fmt: skip


_ROW: dict[int, Callable[[np.random.Generator], dict[str, Any]]] = {
    1: lambda rng: {
        "Task": "Trend", "Question": "Which trend does this series have? (a) up (b) down (c) none",
        "Series": rng.normal(size=128).tolist(),
    },
    2: lambda rng: {"series": rng.normal(size=256).tolist()},
    3: lambda rng: {f"{axis}_axis": rng.normal(size=128).tolist() for axis in "xyz"},
    4: lambda rng: {"time_series": rng.normal(size=1500).tolist()},
    5: lambda rng: {
        "question": "Does this ECG show symptoms of atrial fibrillation?", "possible_answers": ["no", "yes"],
        "leads": rng.normal(size=(12, 1000)).tolist(), "clinical_context": "63-year-old patient, no pacemaker.",
        "template_id": 1, "question_type": "single-verify",
    },
}  # fmt: skip
_NOTES = (
    "Random weights, one thread, its own seconds (of an idle core), best of two, of one with --quick. s: prefill "
    "and all tokens of all branches; for the published shapes, in bfloat16, the prompt alone.",
    "a prefill each: the same texts one after the other, each from its own evaluation of the prompt. shared rows: what "
    "the library does. token tree: one row, our attention. 4-D mask: one row, transformers' attention. copied rows: "
    "transformers' cache, the prompt evaluated once and copied. generate: plain batched generation.",
    "MB cache: keys and values of the prompt, as held; MB copied: as rows with a copy each would hold them.",
    "Positions of a prompt are counted with a word, a sign or three digits as one token: about what Llama's tokenizer "
    "gives; the stand-in's own tokenizer needs fewer.",
)
