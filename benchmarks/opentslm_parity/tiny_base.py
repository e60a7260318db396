"""Language models of a few ten thousand random weights, laid down in a cache of the hub under the published names.

Weights come from numpy's frozen ``RandomState``, and files are written by hand, so that upstream's environment and this
one, with other versions of everything, build the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HIDDEN, INNER, LAYERS = 64, 96, 3
_HEAD = 16


@dataclass(frozen=True)
class Family:
    """One kind of base model: where the hub has it, and its attention."""

    name: str
    hub_id: str
    heads: int
    kv_heads: int


LLAMA = Family("llama-3.2-1b", "meta-llama/Llama-3.2-1B", heads=4, kv_heads=2)
GEMMA = Family("gemma-3-270m", "google/gemma-3-270m", heads=4, kv_heads=1)
FAMILIES = (LLAMA, GEMMA)


def write_base(home: Path, family: Family) -> None:
    """The snapshot of a base model: configuration, weights in bfloat16, tokenizer."""
    folder = snapshot(home, family.hub_id)
    tokenizer, tokenizer_config = _gemma_tokenizer() if family is GEMMA else _llama_tokenizer()
    vocabulary = tokenizer.get_vocab_size()
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    _write_json(folder / "config.json", _gemma_config(vocabulary) if family is GEMMA else _llama_config(vocabulary))
    weights = base_weights(family, vocabulary)
    save_file({name: w.bfloat16() for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def snapshot(home: Path, hub_id: str) -> Path:
    """The folder that a cache of the hub has for a repository's one snapshot; its ``main`` points there."""
    repository = home / "hub" / ("models--" + hub_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_weights(family: Family, vocabulary: int, seed: int = 0) -> dict[str, Tensor]:
    """Every weight of a base model, without the head, which is tied to the embeddings; exact in bfloat16."""
    draw = Draw(seed + len(family.name))
    gemma = family is GEMMA
    weights = {"model.embed_tokens.weight": draw(vocabulary, HIDDEN, scale=0.05 if gemma else 0.3)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name, (out, inner) in layer_shapes(family).items():
            weights[f"{layer}{name}.weight"] = draw(out, inner, scale=2 * inner**-0.5)
        for norm in _norms(gemma):
            weights[f"{layer}{norm}.weight"] = draw.norm(_HEAD if "_norm" in norm and "attn" in norm else HIDDEN, gemma)
    weights["model.norm.weight"] = draw.norm(HIDDEN, gemma)
    return {name: weight.bfloat16().float() for name, weight in weights.items()}


def layer_shapes(family: Family) -> dict[str, tuple[int, int]]:
    """[out, in] of every linear map of a layer; those that LoRA adapts."""
    return {
        "self_attn.q_proj": (family.heads * _HEAD, HIDDEN),
        "self_attn.k_proj": (family.kv_heads * _HEAD, HIDDEN),
        "self_attn.v_proj": (family.kv_heads * _HEAD, HIDDEN),
        "self_attn.o_proj": (HIDDEN, family.heads * _HEAD),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }


class Draw:
    """Gaussian tensors from numpy's frozen generator."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)

    def __call__(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.tensor(scale * self._random.standard_normal(shape), dtype=torch.float32)

    def norm(self, width: int, centred: bool = False) -> Tensor:
        """Of a norm layer: near one, or near zero where the layer adds one itself."""
        return self(width, scale=0.1) + (0.0 if centred else 1.0)


def _norms(gemma: bool) -> tuple[str, ...]:
    if not gemma:
        return ("input_layernorm", "post_attention_layernorm")
    blocks = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
    return (*blocks, "self_attn.q_norm", "self_attn.k_norm")


def _llama_config(vocabulary: int) -> dict[str, Any]:
    rope = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
    return _sizes(LLAMA, vocabulary) | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rope_theta": 500000.0,
        "rope_scaling": rope | {"rope_type": "llama3"}, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip


def _gemma_config(vocabulary: int) -> dict[str, Any]:
    return _sizes(GEMMA, vocabulary) | {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "query_pre_attn_scalar": _HEAD, "rms_norm_eps": 1e-6,
        "sliding_window": 512, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip


def _sizes(family: Family, vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": family.heads, "num_key_value_heads": family.kv_heads, "head_dim": _HEAD,
        "attention_bias": False, "max_position_embeddings": 131072, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }  # fmt: skip


def _llama_tokenizer() -> tuple[Any, dict[str, Any]]:
    """Byte-level BPE without merges, 258 entries, a BOS before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    bos, eos = special = ["<|begin_of_text|>", "<|end_of_text|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(special + letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}


def _gemma_tokenizer() -> tuple[Any, dict[str, Any]]:
    """BPE with bytes to fall back on, as Gemma's; its class pads on the left."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁"]
    vocabulary = {token: i for i, token in enumerate(special + letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    names = {f"{token[1:-1]}_token": token for token in special[:4]}
    return tokenizer, names | {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
