"""Checkpoints in the published format with random weights: soft prompt, soft prompt with LoRA, Flamingo."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.opentslm_parity.tiny_base import (
    FAMILIES,
    GEMMA,
    HIDDEN,
    LAYERS,
    Draw,
    Family,
    base_weights,
    layer_shapes,
    snapshot,
)

WIDTH, MAX_PATCHES = 128, 1024
RANK, ALPHA = 16, 32
KINDS = ("sp", "sp-lora", "flamingo")
_STAGES = {"sp": "tsqa", "sp-lora": "ecg", "flamingo": "har"}


def hub_id(family: Family, kind: str) -> str:
    """The published name that stands for a kind here."""
    return f"OpenTSLM/{family.name}-{_STAGES[kind]}-{kind.removesuffix('-lora')}"


def write_checkpoint(home: Path, family: Family, kind: str, vocabulary: int) -> Path:
    """The snapshot of a published checkpoint; ``vocabulary`` is the base model's."""
    entries = flamingo(family, vocabulary) if kind == "flamingo" else soft_prompt(family, lora=kind == "sp-lora")
    path = snapshot(home, hub_id(family, kind)) / "model_checkpoint.pt"
    with pretended_peft():
        torch.save(entries, path)
    return path


def soft_prompt(family: Family, lora: bool = False) -> dict[str, Any]:
    """The entries of an SP file, with an optimizer's state as big as upstream's."""
    draw = Draw(100 + FAMILIES.index(family))
    encoder = _patches(draw) | {
        f"encoder.layers.{i}.{name}": tensor for i in range(6) for name, tensor in _encoder_layer(draw).items()
    }
    projector = _norm(draw, "projector.0.", WIDTH) | _linear(draw, "projector.1.", HIDDEN, WIDTH)
    trained = [*encoder.values(), *projector.values()]
    moments = {i: {"exp_avg": torch.zeros_like(t), "exp_avg_sq": torch.zeros_like(t)} for i, t in enumerate(trained)}
    entries = {
        "encoder_state": encoder, "projector_state": projector,
        "optimizer_state": {"state": moments, "param_groups": [{"lr": 2e-4}]},
        "scheduler_state": {"last_epoch": 3}, "val_loss": 1.5, "epoch": 3, "lora_enabled": lora,
    }  # fmt: skip
    return entries | ({"lora_state": _lora(draw, family), "lora_config": _lora_config()} if lora else {})


def flamingo(family: Family, vocabulary: int) -> dict[str, Any]:
    """The entries of a Flamingo file: every tensor under all the names that upstream's modules give it."""
    draw = Draw(200 + FAMILIES.index(family))
    state = {f"vision_encoder.{name}": tensor for name, tensor in _patches(draw).items()}
    state |= {f"perceiver.{name}": tensor for name, tensor in _resampler(draw).items()}
    added = 2 if family is GEMMA else 3  # Gemma has a token for padding
    for name, tensor in base_weights(family, vocabulary + added, seed=50).items():
        for alias in _names_of(name):
            state[f"lang_encoder.{alias}"] = tensor
    state["lang_encoder.lm_head.weight"] = state["lang_encoder.model.embed_tokens.weight"]
    for i in range(LAYERS):
        for name, tensor in _gated(draw).items():
            state[f"lang_encoder.gated_cross_attn_layers.{i}.{name}"] = tensor
            state[f"lang_encoder.model.layers.{i}.gated_cross_attn_layer.{name}"] = tensor
    return {"model_state": {f"{root}.{name}": t for root in ("model", "llm") for name, t in state.items()}}


def _names_of(name: str) -> list[str]:
    if not name.startswith("model.layers."):
        return [name]
    _, _, layer, rest = name.split(".", 3)
    return [f"model.layers.{layer}.decoder_layer.{rest}", f"old_decoder_blocks.{layer}.{rest}"]


def _patches(draw: Draw) -> dict[str, Tensor]:
    state = {"pos_embed": draw(1, MAX_PATCHES, WIDTH, scale=0.5), "patch_embed.weight": draw(WIDTH, 1, 4)}
    return state | _norm(draw, "input_norm.", WIDTH)


def _encoder_layer(draw: Draw) -> dict[str, Tensor]:
    state = {
        "self_attn.in_proj_weight": draw(3 * WIDTH, WIDTH, scale=WIDTH**-0.5),
        "self_attn.in_proj_bias": draw(3 * WIDTH, scale=0.1),
    }
    state |= _linear(draw, "self_attn.out_proj.", WIDTH, WIDTH)
    state |= _linear(draw, "linear1.", 1024, WIDTH) | _linear(draw, "linear2.", WIDTH, 1024)
    return state | _norm(draw, "norm1.", WIDTH) | _norm(draw, "norm2.", WIDTH)


def _resampler(draw: Draw) -> dict[str, Tensor]:
    state = {"latents": draw(64, WIDTH)}
    for i in range(6):
        attention = _norm(draw, "norm_media.", WIDTH) | _norm(draw, "norm_latents.", WIDTH) | _projections(draw, WIDTH)
        layer = {f"0.{name}": tensor for name, tensor in attention.items()} | _feed_forward(draw, "1.", WIDTH)
        state |= {f"layers.{i}.{name}": tensor for name, tensor in layer.items()}
    return state | _norm(draw, "norm.", WIDTH)


def _gated(draw: Draw) -> dict[str, Tensor]:
    """A gated layer whose gates are well open: its part shows."""
    state = {f"attn.{n}": t for n, t in (_norm(draw, "norm.", HIDDEN) | _projections(draw, HIDDEN)).items()}
    gates = {"attn_gate": 0.5 + draw(1, scale=0.1), "ff_gate": 0.5 + draw(1, scale=0.1)}
    return state | gates | _feed_forward(draw, "ff.", HIDDEN)


def _projections(draw: Draw, width: int) -> dict[str, Tensor]:
    """``to_q``, ``to_kv`` and ``to_out`` of attention from a width to the latents."""
    return {
        "to_q.weight": draw(512, width, scale=2 * width**-0.5),
        "to_kv.weight": draw(1024, WIDTH, scale=WIDTH**-0.5),
        "to_out.weight": draw(width, 512, scale=512**-0.5),
    }


def _feed_forward(draw: Draw, prefix: str, width: int) -> dict[str, Tensor]:
    maps = {
        f"{prefix}1.weight": draw(4 * width, width, scale=width**-0.5),
        f"{prefix}3.weight": draw(width, 4 * width, scale=(4 * width) ** -0.5),
    }
    return _norm(draw, f"{prefix}0.", width) | maps


def _norm(draw: Draw, prefix: str, width: int) -> dict[str, Tensor]:
    return {f"{prefix}weight": draw.norm(width), f"{prefix}bias": draw(width, scale=0.1)}


def _linear(draw: Draw, prefix: str, out: int, inner: int) -> dict[str, Tensor]:
    return {f"{prefix}weight": draw(out, inner, scale=inner**-0.5), f"{prefix}bias": draw(out, scale=0.1)}


def _lora(draw: Draw, family: Family) -> dict[str, Tensor]:
    state = {}
    for i in range(LAYERS):
        for name, (out, inner) in layer_shapes(family).items():
            key = f"base_model.model.model.layers.{i}.{name}.lora_"
            state[f"{key}A.default.weight"] = draw(RANK, inner, scale=inner**-0.5)
            state[f"{key}B.default.weight"] = draw(out, RANK, scale=0.2 * RANK**-0.5)
    return state


class _LoraConfig:
    """Pickled under the name of peft's class; upstream's files hold one."""

    __reduce_ex__: Callable[..., Any]

    def __init__(self, **entries: Any) -> None:
        self.__dict__.update(entries)


_LoraConfig.__module__, _LoraConfig.__qualname__, _LoraConfig.__name__ = "peft.tuners.lora.config", *["LoraConfig"] * 2


def _lora_config() -> dict[str, Any]:
    entries = {"r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none", "use_dora": False}
    return {"default": _LoraConfig(**entries, target_modules={"q_proj", "v_proj"}, task_type="CAUSAL_LM")}


@contextmanager
def pretended_peft() -> Iterator[None]:
    """While a file is written: the name of peft's class leads to ours, whether peft is installed or not."""
    names = ["peft", "peft.tuners", "peft.tuners.lora", "peft.tuners.lora.config"]
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        sys.modules[name] = ModuleType(name)
    sys.modules[names[-1]].LoraConfig = _LoraConfig  # type: ignore[attr-defined]
    try:
        assert pickle.dumps(_lora_config())
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
