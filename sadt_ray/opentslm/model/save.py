"""Write OpenTSLM-SP in the published layout: one ``model_checkpoint.pt``, and the base model beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder

CHECKPOINT = "model_checkpoint.pt"
BASE = "base"


def save_soft_prompt(
    path: str | Path,
    encoder: SeriesEncoder,
    projector: Projector,
    *,
    val_loss: float = float("nan"),
    epoch: int = 0,
    lora_state: Mapping[str, Tensor] | None = None,
    network: Any = None,
    tokenizer: Any = None,
    **more: Any,
) -> Path:
    """Write ``path/model_checkpoint.pt`` and, if a network is given, ``path/base/``; returns the checkpoint's path.

    Args:
        path: a directory, made if it is not there.
        encoder, projector: saved in float32.
        val_loss, epoch: what the published files say of themselves.
        lora_state: adapters by peft's names, as ``load_opentslm`` reads them.
        network, tokenizer: the base model, for a checkpoint whose base is not one of the hub's.
        more: further entries of the file, such as ``optimizer_state``; plain values and tensors only, so that it can
            be read back without running foreign code.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if network is not None:
        network.save_pretrained(path / BASE)
        tokenizer.save_pretrained(path / BASE)
    entries: dict[str, Any] = {
        "encoder_state": _on_cpu(encoder.state_dict()),
        "projector_state": _on_cpu(projector.state_dict()),
        "val_loss": float(val_loss),
        "epoch": int(epoch),
        "lora_enabled": lora_state is not None,
    }
    if lora_state is not None:
        entries["lora_state"] = _on_cpu(lora_state)
    part = path / f".{CHECKPOINT}.{os.getpid()}.part"
    torch.save(entries | more, part)
    os.replace(part, path / CHECKPOINT)
    return path / CHECKPOINT


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in state.items()}
