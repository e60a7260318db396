"""What is compared: which checkpoints, which prompts, and what is kept of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from benchmarks.opentslm_parity.tiny_base import FAMILIES, GEMMA, LLAMA, Family, snapshot, write_base
from benchmarks.opentslm_parity.tiny_checkpoint import KINDS, hub_id, write_checkpoint

SERIES = (1, 3, 12)
BEYOND_WINDOW = 24  # series whose prompt is longer than Gemma's window of 512
TOKENS = 16  # of each greedy decode
KEPT = (0, 1, 7, 15)  # steps whose logits are kept
NEVER_CHOSEN = {LLAMA: [258, 259, 260], GEMMA: [262, 263]}  # Flamingo's own tokens; see FlamingoModel
_VERSIONS = "versions"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        family, kind, count: the base model, the kind of checkpoint, the number of series.
        whole: texts are padded on the right and so kept whole. Gemma's tokenizer pads on the left, with which upstream
            loses the ends of a soft prompt's texts and asks for the first token at a masked place: that one, BOS, is
            forced, and its logits are not compared.
    """

    family: Family
    kind: str
    count: int
    whole: bool = True

    @property
    def name(self) -> str:
        return f"{self.family.name} {self.kind} {self.count}{'' if self.whole else ' cut'}"

    @property
    def steps(self) -> tuple[int, ...]:
        """Those whose logits are compared."""
        return KEPT if self.whole else KEPT[1:]

    @property
    def hub_id(self) -> str:
        return hub_id(self.family, self.kind)


@dataclass(frozen=True)
class Question:
    """The parts of a prompt, in neither package's class."""

    pre: str
    texts: tuple[str, ...]
    series: tuple[Float[np.ndarray, " T"], ...]
    post: str


@dataclass(frozen=True)
class Decoded:
    """A greedy decode, behind BOS where that is forced: logits before each token, in float32, and the likeliest."""

    logits: Float[np.ndarray, "steps vocabulary"]
    tokens: Int[np.ndarray, " steps"]

    @classmethod
    def of(cls, logits: Float[np.ndarray, "steps vocabulary"]) -> Decoded:
        return cls(logits.astype(np.float32), logits.argmax(axis=1).astype(np.int32))


def cases() -> Iterator[Case]:
    """All that are compared, checkpoints together."""
    for family in FAMILIES:
        for kind in KINDS:
            yield from (Case(family, kind, count) for count in SERIES)
            if family is GEMMA:
                yield Case(family, kind, BEYOND_WINDOW)
                yield from (Case(family, kind, count, whole=False) for count in SERIES if kind != "flamingo")


def question(count: int) -> Question:
    """A prompt with series of different lengths, one of them no multiple of four, and texts of different lengths."""
    random = np.random.RandomState(count)
    series = tuple(random.standard_normal(18 - i % 3).astype(np.float32) for i in range(count))
    texts = tuple(f"Series {i}, mean {i / 7:.4f}:"[: 24 - i % 2] for i in range(count))
    return Question("Say what these measurements show; think first.", texts, series, "Answer:")


def write_hub(home: Path) -> None:
    """Every base model and every checkpoint of ``cases`` in a cache of the hub."""
    from safetensors import safe_open

    for family in FAMILIES:
        write_base(home, family)
        with safe_open(snapshot(home, family.hub_id) / "model.safetensors", "pt") as file:
            vocabulary = file.get_slice("model.embed_tokens.weight").get_shape()[0]
        for kind in KINDS:
            write_checkpoint(home, family, kind, vocabulary)


def save_record(path: Path, results: dict[str, Decoded], versions: str) -> None:
    """Tokens of every step, logits of the steps in ``KEPT``, and what computed them."""
    arrays: dict[str, Any] = {_VERSIONS: np.array(versions)}
    for name, decoded in results.items():
        kept = [step for step in KEPT if step < len(decoded.tokens)]
        arrays |= {f"{name}/tokens": decoded.tokens, f"{name}/logits": decoded.logits[kept]}
    np.savez_compressed(path, **arrays)


def load_record(path: Path) -> tuple[dict[str, Decoded], str]:
    """What ``save_record`` wrote; logits are those of the steps in ``KEPT``."""
    with np.load(path, allow_pickle=False) as file:
        names = sorted({key.rsplit("/", 1)[0] for key in file if key != _VERSIONS})
        results = {name: Decoded(file[f"{name}/logits"], file[f"{name}/tokens"]) for name in names}
        return results, str(file[_VERSIONS])
