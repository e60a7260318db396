"""The state of a training in one safetensors file: tensors, and all other values as JSON. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sadt_ray.processes.training_state import read_safetensors, save_atomically

FORMAT = "sadt-ray flow training 1"
_TENSOR, _PAIRS = "tensor", "pairs"


def save_training(path: Path, state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write ``FlowTraining.state`` and facts (JSON values) atomically: a reader sees the old file or the new one."""
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, tensors)
    metadata = {"format": FORMAT, "state": json.dumps(plain), "facts": json.dumps(dict(facts))}
    save_atomically(tensors, metadata, path)


def load_training(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read state and facts. Raises ValueError for a damaged file or another format."""
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {metadata.get('format', 'nothing')!r}, not {FORMAT!r}; remove it to start anew"
        )
    return _with_tensors(json.loads(metadata["state"]), tensors), json.loads(metadata["facts"])


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Convert to JSON values: tensors become names, mappings become pairs because their keys may be numbers."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):05d}"
        tensors[name] = value.detach().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {_PAIRS: [[key, _without_tensors(inner, tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(inner, tensors) for inner in value]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(inner, tensors) for key, inner in value[_PAIRS]}
    if isinstance(value, list):
        return [_with_tensors(inner, tensors) for inner in value]
    return value
