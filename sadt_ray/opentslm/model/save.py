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
        path: the directory; made if it does not exist.
        encoder, projector: saved in float32.
        val_loss, epoch: entries of the published files.
        lora_state: adapters by peft's names, as ``load_opentslm`` reads them.
        network, tokenizer: the base model, if it is not one of the hub.
        more: further entries of the file, such as ``optimizer_state``; only plain values and tensors, so that the file
            can be read without running code.
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
