"""How a text is cut into the steps of its chain, and which steps become nodes of the tree.

A block is a fixed number of tokens, a sentence or a line. Step b of the chain is the text after b blocks, step 0 the
text after its first token. The last step is x_0, the whole text. A text that ends earlier jumps to x_0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sadt_ray.processes.branching import checked_branch_steps

PRESETS = ("published", "late", "start", "none")
_ENDS = ("tokens", "sentence", "line")


@dataclass(frozen=True)
class Blocks:
    """Settings of the cuts.

    Attributes:
        end: what ends a block: ``"tokens"`` (its length), ``"sentence"`` or ``"line"``.
        tokens: longest block in tokens; with ``"tokens"``, the length of each block.
        count: steps of the chain: ``count`` - 1 blocks, then the rest of the text.

    Raises ValueError for another ``end``, or a number below 1.
    """

    end: str = "sentence"
    tokens: int = 32
    count: int = 6

    def __post_init__(self) -> None:
        if self.end not in _ENDS:
            raise ValueError(f"blocks cannot end at {self.end!r}; choose one of {', '.join(_ENDS)}")
        if self.tokens < 1 or self.count < 1:
            raise ValueError(f"blocks of {self.tokens} tokens, {self.count} of them; both must be at least 1")

    def closed(self, text: str, tokens: int) -> bool:
        """Whether a block of ``tokens`` tokens ends here, where ``text`` is the end of the text so far."""
        if tokens >= self.tokens:
            return True
        if self.end == "sentence":
            return _ends_sentence(text)
        return self.end == "line" and text.endswith("\n")

    @property
    def steps(self) -> tuple[int, ...]:
        """All steps of the chain. Blocks of one token have no step 0, because it would equal step 1."""
        return tuple(range(int(self.tokens == 1), self.count + 1))

    def branch_steps(self, wanted: Sequence[int] | str) -> tuple[int, ...]:
        """Steps that become nodes, from numbers or the name of a preset.

        - ``published``: after every block;
        - ``late``: after every block of the second half;
        - ``start``: after the first token;
        - ``none``: x_0 alone.

        Raises:
            ValueError: for another name, or steps that do not ascend to ``count``.
        """
        presets: dict[str, Sequence[int]] = {
            "published": range(1, self.count + 1),
            "late": range((self.count + 1) // 2, self.count + 1),
            "start": sorted({self.steps[0], self.count}),
            "none": (self.count,),
        }
        if not isinstance(wanted, str):
            steps = checked_branch_steps(wanted, self.count)
            if steps[0] < self.steps[0]:
                raise ValueError("branch step 0, the first token, is step 1 where blocks have one token; begin with 1")
            return steps
        if wanted not in presets:
            raise ValueError(f"there is no branching preset {wanted!r}; choose one of {', '.join(PRESETS)}, or numbers")
        return tuple(presets[wanted])


def _ends_sentence(text: str) -> bool:
    """Whether a text ends with a line break, or with a stop that does not follow a digit (``0.5`` goes on)."""
    if text.endswith("\n"):
        return True
    said = text.rstrip(" \"')")
    return said.endswith(("!", "?")) or (said.endswith(".") and not said[-2:-1].isdigit())
