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
    """The parts of a published name: hub id of the base model, stage, and variant (``sp`` or ``flamingo``)."""

    base: str
    stage: str
    variant: str


def published(name: str) -> Published | None:
    """Parse a name such as ``OpenTSLM/llama-3.2-1b-har-sp``, with or without the organisation; None for other names."""
    found = _NAME.fullmatch(name.removeprefix(f"{ORGANISATION}/"))
    if found is None:
        return None
    base = _ALIASES.get(found["base"], found["base"])
    return Published(BASES[base], found["stage"], found["variant"])


def base_of_width(hidden_size: int) -> str | None:
    """The hub id of the published base model with this width; None if there is none. No two have the same width."""
    return BASES[WIDTHS[hidden_size]] if hidden_size in WIDTHS else None


def hub_ids() -> tuple[str, ...]:
    """The hub ids of all published checkpoints."""
    return tuple(f"{ORGANISATION}/{base}-{stage}-{kind}" for base in BASES for stage in STAGES for kind in VARIANTS)
