"""The state of a training run in one safetensors file, which is replaced atomically. Nothing is pickled.

The randomness of a step is a function of (seed, stage, step), so the file needs no state of a generator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FORMAT = "sadt_ray training checkpoint 1"


@dataclass
class TrainingState:
    """Progress of one stage of a training run.

    Attributes:
        stage, step: name of the stage, and number of its steps so far.
        best_loss, best_step: lowest validation loss so far, and its step.
        ema, best: averaged parameters now, and at ``best_step``.
        history: (stage, step, train loss, validation loss) of every validation.
    """

    stage: str
    step: int = 0
    best_loss: float = float("inf")
    best_step: int = 0
    ema: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[tuple[str, int, float, float]] = field(default_factory=list)


def save_atomically(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Write a safetensors file under another name and rename it: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, part, dict(metadata))
    part.chmod(0o644)  # safetensors creates files that only their owner may read
    os.replace(part, path)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata. Raises ValueError for a file that is not safetensors."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}); train it again") from None


def save_checkpoint(
    path: Path, state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer, config: Mapping[str, Any]
) -> None:
    """Write the state to ``path``. A resumed run must have the same ``config``."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"ema/{name}": value for name, value in state.ema.items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    record = {key: getattr(state, key) for key in ("stage", "step", "best_loss", "best_step", "history")}
    metadata = {"format": FORMAT, "state": json.dumps(record), "config": json.dumps(config, sort_keys=True)}
    save_atomically(tensors, metadata, path)


def load_checkpoint(path: Path, config: Mapping[str, Any]) -> tuple[TrainingState, dict[str, dict[str, Tensor]]]:
    """Read the state, and the tensors of the groups ``model`` and ``optimizer``.

    Raises:
        ValueError: if the file is not a checkpoint, or was written with another configuration.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a training checkpoint; resume from the file that --out named, or start anew")
    theirs, ours = json.loads(metadata["config"]), json.loads(json.dumps(config))
    different = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    if different:
        raise ValueError(
            f"{path} was written with another {', '.join(different)}: "
            f"{[theirs.get(key) for key in different]} there, {[ours.get(key) for key in different]} here; "
            f"use the same, or start anew without --resume"
        )
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = tensor
    record = json.loads(metadata["state"])
    record["history"] = [tuple(row) for row in record["history"]]
    return TrainingState(**record, ema=groups.pop("ema"), best=groups.pop("best")), groups


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the saved moments. The parameter groups keep their hyperparameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, moment = name.partition("/")
        state.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
