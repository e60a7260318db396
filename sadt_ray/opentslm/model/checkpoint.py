"""Read a published checkpoint without running any of it and without keeping what only its training needs.

A checkpoint from a hub is untrusted input, so it is only ever read with ``torch.load(weights_only=True)``. Those of
three stages hold a pickled ``peft.LoraConfig``, which that refuses: a class that does nothing stands in for peft's, and
for no others. The file is mapped into memory, so the optimizer's state, two thirds of it, is never read.
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
    """Takes the place of a class of peft: it keeps what was pickled and can do nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Its entries without the optimizer's, tensors mapped from the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint, or refers to code that a checkpoint of OpenTSLM has no need of.
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
    """Copy a state into a module. Raises ValueError naming the keys that are missing, left over or of another size."""
    refuse_misfit(module, state, what, hint)
    module.load_state_dict(state)


def refuse_misfit(module: nn.Module, state: Mapping[str, Any], what: str, hint: str = "") -> None:
    """Raises ValueError naming every key of a state, at most eight, that does not fit a module."""
    found = differences(module, state)
    if found:
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        raise ValueError(f"the checkpoint's {what} does not fit: {'; '.join(found[:8])}{more}. {hint}".rstrip())


def differences(module: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """What keeps a state from fitting a module, one sentence a key."""
    wanted = module.state_dict()
    sizes = (
        f"{key} is {list(state[key].shape)} in the file, {list(wanted[key].shape)} in the model"
        for key in sorted(wanted.keys() & state.keys())
        if state[key].shape != wanted[key].shape
    )
    missing = (f"{key} is missing" for key in sorted(wanted.keys() - state.keys()))
    return [*sizes, *missing, *(f"{key} is left over" for key in sorted(state.keys() - wanted.keys()))]


def _globals_of(path: Path) -> list[str]:
    """The classes of peft that the file names. Raises ValueError if it names anything else that is not a tensor."""
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
