"""Read a published checkpoint without running any of its code and without the state of its training.

A checkpoint from a hub is untrusted input, so it is read with ``torch.load(weights_only=True)`` only. The checkpoints
of three stages hold a pickled ``peft.LoraConfig``, which that would refuse. A class that does nothing replaces the
classes of peft, and no others. The file is memory-mapped, so the optimizer's state, two thirds of it, is never read.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import nn

_TRAINING = ("optimizer_state", "scheduler_state")
_STAND_IN = "peft."


class PeftStandIn:
    """Replaces a class of peft. It keeps what was pickled and has no behaviour."""

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The entries of a checkpoint without those of the optimizer. Tensors are mapped from the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint, or refers to code that a checkpoint of OpenTSLM does not need.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}; OpenTSLM's are called model_checkpoint.pt")
    if not is_zipfile(path):
        raise ValueError(f"{path} is not a checkpoint of PyTorch, or was cut short; download it again")
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]]
    stand_ins = [(PeftStandIn, name) for name in _globals_of(path)]
    try:
        with torch.serialization.safe_globals(stand_ins):
            entries = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} could not be read safely: {error}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"{path} holds a {type(entries).__name__}, not the entries of an OpenTSLM checkpoint")
    return {name: entry for name, entry in entries.items() if name not in _TRAINING}


def load_exactly(module: nn.Module, state: Mapping[str, Any], what: str, hint: str = "") -> None:
    """Copy a state into a module. Raises ValueError naming keys that are missing, left over or of another size."""
    refuse_misfit(module, state, what, hint)
    module.load_state_dict(state)


def refuse_misfit(module: nn.Module, state: Mapping[str, Any], what: str, hint: str = "") -> None:
    """Raises ValueError naming the keys of a state that do not fit a module, at most eight of them."""
    found = differences(module, state)
    if found:
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        raise ValueError(f"the checkpoint's {what} does not fit: {'; '.join(found[:8])}{more}. {hint}".rstrip())


def differences(module: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """The reasons why a state does not fit a module, one sentence per key."""
    wanted = module.state_dict()
    sizes = (
        f"{key} is {list(state[key].shape)} in the file, {list(wanted[key].shape)} in the model"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key].shape
    )
    missing = (f"{key} is missing" for key in sorted(wanted.keys() - state.keys()))
    return [*sizes, *missing, *(f"{key} is left over" for key in sorted(state.keys() - wanted.keys()))]


def _globals_of(path: Path) -> list[str]:
    """Names of the classes of peft in the file. Raises ValueError if it names other classes or functions."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a checkpoint of PyTorch, or was cut short ({error})") from None
    foreign = sorted(name for name in names if not name.startswith(_STAND_IN))
    if foreign:
        raise ValueError(
            f"{path} refers to {', '.join(foreign)}: reading it would run code, and no checkpoint of OpenTSLM needs "
            f"that. Do not load it; ask its author for one that holds tensors only"
        )
    return sorted(names)
