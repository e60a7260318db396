"""``load_opentslm``: any published checkpoint of OpenTSLM as a ``LanguageModel``, from the hub, a folder or a file.

    model = load_opentslm("OpenTSLM/llama-3.2-1b-har-sp", revision="...", dtype=torch.bfloat16, device="cuda")

Neither ``opentslm`` nor ``open-flamingo`` nor ``peft`` is needed. A folder may hold the base model too, as ``base/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sadt_ray.opentslm.model import hub
from sadt_ray.opentslm.model.checkpoint import load_exactly, read_checkpoint, refuse_misfit
from sadt_ray.opentslm.model.cross_attention import GatedCrossAttention, Resampler
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder
from sadt_ray.opentslm.model.flamingo import FlamingoModel, grow_vocabulary
from sadt_ray.opentslm.model.flamingo_state import FlamingoState, split_state
from sadt_ray.opentslm.model.lora import merge_lora
from sadt_ray.opentslm.model.names import base_of_width, hub_ids
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel
from sadt_ray.processes.language.model import LanguageModel

WRONG_BASE = "Was it trained on another base model? Give that one as base=."


@dataclass(frozen=True)
class _Base:
    """The language model under a checkpoint, and how to load it."""

    source: str | Path
    access: hub.Access
    dtype: torch.dtype


def load_opentslm(
    source: str | Path,
    *,
    revision: str | None = None,
    base: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    token: str | None = None,
    offline: bool | None = None,
    compile: bool = False,
) -> LanguageModel:
    """Load the frozen model of a checkpoint.

    Args:
        source: a hub id, a folder with ``model_checkpoint.pt``, or such a file.
        revision: branch, tag or commit of a hub id.
        base: hub id or folder of the base model. By default the folder's own ``base/``, or else the published model
            that the checkpoint was trained on.
        device, dtype: device and number type (``float32`` or ``bfloat16``) of the language model. Encoders stay in
            float32, as upstream's.
        token: token of a Hugging Face account, for gated base models; by default that of the login.
        offline: whether only the cache is used; by default as ``HF_HUB_OFFLINE`` says.
        compile: whether feed-forward layers and Flamingo's gated layers are compiled by ``torch.compile``. Attention is
            not: the caches of a search are Python, and compiling around them took minutes.

    Raises:
        ImportError: without ``transformers``.
        FileNotFoundError: for a file that does not exist, or is not in the cache while offline.
        PermissionError: for a gated model; the message says how to get access.
        ValueError: for an unknown id (lists the known ones), an unsafe file, or a base model that does not fit.
    """
    if find_spec("transformers") is None:
        raise ImportError("language models need transformers: pip install 'sadt-ray[hf]'")
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype {dtype}: choose torch.float32 or torch.bfloat16, which the checkpoints were made in")
    access = hub.Access(token, offline)
    path = hub.find_checkpoint(source, revision, access, any_name=base is not None)
    entries = read_checkpoint(path)
    if "encoder_state" in entries and "projector_state" in entries:
        model: SoftPromptModel | FlamingoModel = _soft_prompt(
            entries, _base(source, path, base, _width(entries), access, dtype)
        )
    elif state := entries.get("model_state", entries.get("llm")):
        parts = split_state(state)
        model = _flamingo(parts, _base(source, path, base, parts.hidden_size, access, dtype))
    else:
        raise ValueError(
            f"{path} holds {', '.join(sorted(map(str, entries))) or 'nothing'}: neither encoder_state and "
            f"projector_state (soft prompt) nor model_state (Flamingo). It is not a checkpoint of OpenTSLM"
        )
    return _ready(model, torch.device(device), compile)


def _soft_prompt(entries: Mapping[str, Any], base: _Base) -> SoftPromptModel:
    encoder = SeriesEncoder(_max_patches(entries["encoder_state"]))
    load_exactly(encoder, entries["encoder_state"], "encoder_state")
    lora = _lora(entries)
    exact = "auto" if lora and base.dtype != torch.float32 else base.dtype  # for exact merging
    network = hub.load_network(base.source, base.access, exact)
    projector = Projector(network.config.hidden_size)
    load_exactly(projector, entries["projector_state"], "projector_state", WRONG_BASE)
    if lora:
        merge_lora(network, lora, entries.get("lora_config"))
        network.to(base.dtype)
    return SoftPromptModel(network, hub.load_tokenizer(base.source, base.access), encoder, projector)


def _flamingo(parts: FlamingoState, base: _Base) -> FlamingoModel:
    """Build a Flamingo model. Its file holds the whole language model; the base gives configuration and tokenizer."""
    tokenizer = hub.load_tokenizer(base.source, base.access)
    grow_vocabulary(tokenizer)
    config = hub.load_config(base.source, base.access)
    config.vocab_size = len(tokenizer)
    encoder, resampler = SeriesEncoder(_max_patches(parts.encoder), layers=0), Resampler()
    load_exactly(encoder, parts.encoder, "vision_encoder")
    load_exactly(resampler, parts.resampler, "perceiver")
    with torch.device("meta"):
        gated = nn.ModuleList(GatedCrossAttention(config.hidden_size) for _ in range(config.num_hidden_layers))
    refuse_misfit(gated, parts.gated, "gated_cross_attn_layers", WRONG_BASE)
    gated.load_state_dict(parts.gated, assign=True)
    network = hub.fill_network(config, parts.network, base.dtype, WRONG_BASE)
    return FlamingoModel(network, tokenizer, encoder, resampler, gated.to(base.dtype))


def _ready(model: SoftPromptModel | FlamingoModel, device: torch.device, compile: bool) -> LanguageModel:
    """Freeze a model, move it to its device, and compile it if wanted."""
    for part in vars(model).values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    model.to(device)
    if compile:
        _compile(model)
    return model


def _compile(model: SoftPromptModel | FlamingoModel) -> None:
    gated = list(model.gated) if isinstance(model, FlamingoModel) else []
    for module in [*(layer.mlp for layer in model.network.model.layers), *gated]:
        module.compile(dynamic=True)


def _base(
    source: str | Path, path: Path, base: str | Path | None, width: int, access: hub.Access, dtype: torch.dtype
) -> _Base:
    """The base model: the given one, the one in the folder, the published one of that name, or that of the width."""
    found = base or hub.base_beside(path) or hub.base_of(source) or base_of_width(width)
    if found is None:
        raise ValueError(
            f"{path} was trained on a language model of width {width}, which no published one has; give it as base= "
            f"(a hub id or a folder). Published checkpoints: {', '.join(hub_ids())}"
        )
    return _Base(found, access, dtype)


def _lora(entries: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    state = entries.get("lora_state")
    if entries.get("lora_enabled") and not state:
        raise ValueError("the checkpoint says that it has adapters (lora_enabled), but holds none; download it again")
    return state or None


def _width(entries: Mapping[str, Any]) -> int:
    weight = entries["projector_state"].get("projector.1.weight")
    return 0 if weight is None else int(weight.shape[0])


def _max_patches(state: Mapping[str, Tensor]) -> int:
    if "pos_embed" not in state or state["pos_embed"].ndim != 3:
        raise ValueError("the checkpoint's encoder has no pos_embed [1, patches, 128]; it is not one of OpenTSLM")
    return int(state["pos_embed"].shape[1])
