"""The published checkpoints of OpenTSLM and the language model under each."""

from __future__ import annotations

import re
from dataclasses import dataclass

ORGANISATION = "OpenTSLM"
BASES = {
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "gemma-3-270m": "google/gemma-3-270m",
    "gemma-3-1b-pt": "google/gemma-3-1b-pt",  # upstream's own factory says gemma-3-1b, which does not exist
}
STAGES = ("tsqa", "m4", "har", "sleep", "ecg")
VARIANTS = ("sp", "flamingo")
WIDTHS = {2048: "llama-3.2-1b", 3072: "llama-3.2-3b", 640: "gemma-3-270m", 1152: "gemma-3-1b-pt"}
_ALIASES = {"gemma-3-270m-pt": "gemma-3-270m", "gemma-3-1b": "gemma-3-1b-pt"}  # both are found in upstream's texts
_NAME = re.compile(
    rf"(?P<base>{'|'.join(map(re.escape, sorted(BASES | _ALIASES, key=len, reverse=True)))})"
    rf"-(?P<stage>{'|'.join(STAGES)})-(?P<variant>{'|'.join(VARIANTS)})"
)


@dataclass(frozen=True)
class Published:
    """What a published name says: the hub id of the base model, the stage, and soft prompt or Flamingo."""

    base: str
    stage: str
    variant: str


def published(name: str) -> Published | None:
    """What ``OpenTSLM/llama-3.2-1b-har-sp``, or its last part alone, says; None for any other name."""
    found = _NAME.fullmatch(name.removeprefix(f"{ORGANISATION}/"))
    if found is None:
        return None
    base = _ALIASES.get(found["base"], found["base"])
    return Published(BASES[base], found["stage"], found["variant"])


def base_of_width(hidden_size: int) -> str | None:
    """The hub id of the published base that is as wide, which tells them apart; None if no one is."""
    return BASES[WIDTHS[hidden_size]] if hidden_size in WIDTHS else None


def hub_ids() -> tuple[str, ...]:
    """Every published checkpoint."""
    return tuple(f"{ORGANISATION}/{base}-{stage}-{kind}" for base in BASES for stage in STAGES for kind in VARIANTS)
