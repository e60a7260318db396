"""Causal language models small enough to sum over, with a tokenizer of whole words that is made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.language.prompt import Prompt

WORDS = ("</s>", "<s>", " a", " b.", " Answer:", " walk", "_up", " run")
ANSWERS = ("walk", "walk_up", "run")


def tokenizer(words: tuple[str, ...] = WORDS) -> Any:
    """Every word is a token, with the space before it."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(" ?[A-Za-z0-9:.()]+|_[a-z]+"), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


@dataclass
class TinyModel:
    """A ``LanguageModel`` whose prompts are noise, seeded by ``pre``, of as many positions as ``post`` has words."""

    network: Any
    tokenizer: Any = field(default_factory=tokenizer)
    forced: tuple[int, ...] = (1,)
    one_prompt_at_a_time: bool = True
    asked: list[str] = field(default_factory=list)

    def embed(self, prompt: Prompt) -> torch.Tensor:
        if not prompt.post:
            raise ValueError("the prompt is empty")
        rng = np.random.default_rng([ord(letter) for letter in prompt.pre])
        shape = (1, len(prompt.post.split()), self.network.config.hidden_size)
        return torch.as_tensor(0.5 * rng.normal(size=shape), dtype=torch.float32)

    def condition(self, prompt: Prompt) -> None:
        self.asked.append(prompt.pre)


def llama(vocab_size: int = len(WORDS), seed: int = 0, scale: float = 4.0) -> Any:
    """Two layers with grouped heads; ``scale`` sharpens what it says next."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    network = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        network.lm_head.weight.mul_(scale)
    return network


def gemma(vocab_size: int = len(WORDS), seed: int = 0, window: int = 4) -> Any:
    """Three layers, of which two see no further back than a window."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(seed)
    config = Gemma3TextConfig(
        vocab_size=vocab_size, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=window, query_pre_attn_scalar=8, bos_token_id=1,
        eos_token_id=0, pad_token_id=0, initializer_range=0.3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    return Gemma3ForCausalLM(config).eval()


def question(name: str = "q", positions: int = 5, **changes: Any) -> Problem:
    prompt = Prompt(name, post=" ".join("x" * positions), answers=changes.pop("answers", ANSWERS), **changes)
    return Problem(name, np.zeros(1), prompt)


def next_token_logits(model: TinyModel, problem: Problem, tokens: Sequence[int]) -> torch.Tensor:
    """Of every token after the forced ones and ``tokens``, by one evaluation of everything: no cache, no branches."""
    said = torch.tensor([[*model.forced, *tokens]], dtype=torch.long)
    with torch.inference_mode():
        embeddings = torch.cat([model.embed(problem.conditioning), model.network.get_input_embeddings()(said)], 1)
        return model.network(inputs_embeds=embeddings, use_cache=False).logits[0, -1].double()


def all_texts(
    model: TinyModel, problem: Problem, law: Callable[[torch.Tensor], torch.Tensor], length: int, marker: int | None
) -> dict[tuple[int, ...], float]:
    """Every text that ends with EOS, with the token ``marker`` or at ``length`` tokens, with its probability."""
    found: dict[tuple[int, ...], float] = {}
    open_texts = {(): 1.0}
    while open_texts:
        tokens, mass = open_texts.popitem()
        probability = law(next_token_logits(model, problem, tokens)).exp().numpy()
        for token in np.flatnonzero(probability):
            text = (*tokens, int(token))
            over = token == 0 or token == marker or len(text) == length
            (found if over else open_texts)[text] = mass * float(probability[token])
    return found


def texts_of(chain: Any, states: np.ndarray, levels: np.ndarray, problem: np.ndarray, seed: int = 0) -> Any:
    """The ends of a run down, [B, max_tokens], and the path."""
    path = chain.run_down(states, levels, problem, derive_seeds(seed, 0, np.arange(len(states))))
    last = path.levels == chain.process.num_levels
    ends = np.array(states)
    ends[path.rows[last]] = path.states[last]
    return ends, path
