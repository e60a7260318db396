"""Language models of a few thousand random weights, and a tokenizer of bytes."""

from __future__ import annotations

from typing import Any

import torch


def tiny_tokenizer(padding_side: str = "right", pad: str | None = None, bos: str = "<bos>", eos: str = "<eos>") -> Any:
    """Byte-level BPE without merges, which puts BOS before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = [bos, eos] + ([pad] if pad else [])
    vocabulary = {token: i for i, token in enumerate(special + letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad, padding_side=padding_side
    )


def tiny_llama(vocabulary: int = 258, seed: int = 0, hidden: int = 64, layers: int = 2) -> Any:
    """Two layers of width 64, or others."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=96, num_hidden_layers=layers, bos_token_id=0,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, eos_token_id=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def tiny_gemma(vocabulary: int = 259, seed: int = 0) -> Any:
    """Three layers of width 64, two of them with a sliding window of 16."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(seed)
    config = Gemma3TextConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, head_dim=16, sliding_window=16, query_pre_attn_scalar=16, max_position_embeddings=4096,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    return Gemma3ForCausalLM(config).eval()
