"""The language model of a stand-in: a Llama with a million parameters, and a byte-level tokenizer with 560 entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sadt_ray.processes.language.prompt import Prompt

BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"
_LONG = 24  # longer lines that are the same in all prompts become one token
_ENTRIES = 520


def tiny_llama(vocabulary: int, bos: int, eos: int, pad: int) -> Any:
    """Width 128, four layers with four heads, feed-forward width 384, tied embeddings; random weights from torch."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return LlamaForCausalLM(config)


def fit_tokenizer(texts: Iterable[str], constant_lines: Sequence[str]) -> Any:
    """A byte-level BPE with about 520 entries learned from texts, and one further entry per constant line.

    It puts BOS before a text, as Llama's tokenizer does, so ``forced`` of the model is BOS.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_ENTRIES,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in constant_lines])
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)


def constant_lines(prompts: Sequence[Prompt]) -> list[str]:
    """The constant parts of more than 24 characters of lines that prompts share.

    A line that states a mean counts up to the mean: "This is the time series, it has". At least one prompt in fifty
    must have the line, because a stage may have several questions.
    """
    counts: dict[str, int] = {}
    for prompt in prompts:
        parts = "\n".join((prompt.pre, *prompt.texts, prompt.post)).split("\n")
        for line in {_constant_part(part) for part in parts}:
            counts[line] = counts.get(line, 0) + 1
    found = [line for line, count in counts.items() if len(line) > _LONG and count >= 0.02 * len(prompts)]
    return sorted(found, key=lambda line: (-len(line), line))


def _constant_part(line: str) -> str:
    """A line with its indentation, up to the first " mean ", which precedes a number."""
    return line.split(" mean ")[0]
