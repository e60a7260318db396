"""A batch of branches: rows that continue prompts, each with the keys and values of its own tokens.

A token at *slot* j of a row is usually the j-th token after the prompt. Alternative tokens, such as those of a tree of
answers, each have a slot, a position given by their depth, and a mask that shows them only their ancestors.

Texts are rows, and answers are a tree within each row. Measured with ``python -m jobs.bench lm``: 64 texts as one tree
in one row reach half to two thirds of the tokens per second of 64 rows, because each query then meets the keys of all
others. With 16 texts or fewer, the attention of ``transformers`` under a 4-D mask is up to a quarter faster on a model
of a million parameters, where Python takes most of the time, and no faster on a model of width 512. That does not
justify a second implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadt_ray.processes.language.attention import Lanes, attending, configs_of
from sadt_ray.processes.language.prefix import HeadInput, Prefix


class Fed(NamedTuple):
    """Outputs of the network at the last ``keep`` tokens fed to each row."""

    logits: Float[Tensor, "B keep V"]
    hidden: Float[Tensor, "B keep H"]


class Branches:
    """B rows that continue prompts.

    Args:
        network: a causal language model of ``transformers``.
        parts: prompts, each with the number of consecutive rows that continue it.
        capacity: most tokens per row.

    Raises:
        ValueError: on the first ``feed``, for a network that does not look up its attention in the registry.
    """

    def __init__(self, network: Any, parts: Sequence[tuple[Prefix, int]], capacity: int) -> None:
        self._network, self._configs = network, configs_of(network)
        self._prompts = _side_by_side([prefix for prefix, _ in parts])
        device = self._prompts.device
        counts = torch.tensor([count for _, count in parts], device=device)
        self._prompt_of = torch.repeat_interleave(torch.arange(len(parts), device=device), counts)
        lengths = torch.tensor([prefix.length for prefix, _ in parts], device=device)
        self._starts, self.lanes = lengths[self._prompt_of], _lanes(self._prompt_of)
        _, layers, heads, _, _, width = self._prompts.shape
        rows = len(self._starts)
        self._spare = capacity  # a slot that no query sees, for the padding of shorter rows
        self._held = self._prompts.new_zeros(2, layers, heads, rows, capacity + 1, width)
        self._places = torch.zeros(rows, capacity + 1, dtype=torch.long, device=device)  # positions of the slots
        self._cache = _suffix_cache(self)
        self._used = 0
        self._windows: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def load(self, row: int, start: int, segment: Float[Tensor, "2 L h n d"]) -> None:
        """Set known keys and values of a row's tokens, from slot ``start`` on."""
        stop = start + segment.shape[3]
        self._held[:, :, :, row, start:stop] = segment
        self._places[row, start:stop] = self._starts[row] + torch.arange(start, stop, device=self._places.device)
        self._used = max(self._used, stop)

    def segment(self, row: int, start: int, stop: int) -> Float[Tensor, "2 L h n d"]:
        """A copy of the keys and values of slots ``start`` to ``stop``, as ``load`` takes them."""
        return self._held[:, :, :, row, start:stop].clone()

    def take(self, rows: Int[Tensor, " n"]) -> None:
        """Keep only these rows, in ascending order, each once."""
        before, used = self._held, self._used
        self._held = before.new_zeros(*before.shape[:3], len(rows), *before.shape[4:])
        self._held[:, :, :, :, :used] = before[:, :, :, rows, :used]  # pages that are never written take no memory
        self._places = self._places[rows]
        self._starts = self._starts[rows]
        left, self._prompt_of = self._prompt_of[rows].unique(return_inverse=True)
        if len(left) < self._prompts.shape[3]:
            self._prompts = self._prompts[:, :, :, left]
        self.lanes = _lanes(self._prompt_of)

    @torch.inference_mode()
    def feed(
        self,
        tokens: Int[Tensor, "B Q"],
        slots: Int[Tensor, "B Q"],
        depths: Int[Tensor, "B Q"] | None = None,
        seen: Bool[Tensor, "B Q S"] | None = None,
        keep: int = 1,
    ) -> Fed:
        """Evaluate Q tokens per row.

        Args:
            tokens: the tokens; any value where the slot is negative, which marks padding.
            slots: slot of each token.
            depths: place of each token in its text; its slot by default.
            seen: slots that each token sees, its own included; all slots up to its own by default.
            keep: number of last tokens whose logits are returned.
        """
        padding = slots < 0
        places = torch.where(padding, 0, self._starts[:, None] + (slots if depths is None else depths))
        self._slots = torch.where(padding, self._spare, slots)
        self._used = max(self._used, int(slots.max()) + 1)
        self._places.scatter_(1, self._slots, places)
        self._same = seen is None and bool((slots == slots[0]).all()) and int(slots[0, 0]) >= 0
        if seen is None and not (self._same and slots.shape[1] == 1):
            seen = torch.arange(self._used, device=slots.device) <= slots[:, :, None]
            seen = seen | padding[:, :, None]  # the softmax of a row of -inf would be NaN
        self._unseen = None if seen is None else ~seen
        self._asked, self._calls = places, 0
        self._windows.clear()
        with attending(self._configs, self), HeadInput(self._network) as head:
            out = self._network(
                input_ids=tokens, position_ids=places, past_key_values=self._cache, use_cache=True, logits_to_keep=keep
            )
        if self._calls == 0:
            raise ValueError(
                f"{type(self._network).__name__} does not look up its attention in the registry of transformers, so "
                "its branches cannot share a prompt; use a model that does, such as Llama or Gemma"
            )
        assert head.hidden is not None
        return Fed(out.logits, head.hidden[:, -keep:])

    def remember(self, layer: int, keys: Float[Tensor, "B h Q d"], values: Float[Tensor, "B h Q d"]) -> Tensor:
        """Store the new keys and values of a layer; returns all of them, [2, h, B, S, d]."""
        held = self._held[:, layer]
        if self._same:
            first = int(self._slots[0, 0])
            held[0, :, :, first : first + keys.shape[2]] = keys.transpose(0, 1)
            held[1, :, :, first : first + keys.shape[2]] = values.transpose(0, 1)
        else:
            rows = torch.arange(len(self), device=keys.device)[:, None]
            held[0][:, rows, self._slots] = keys.transpose(0, 1)
            held[1][:, rows, self._slots] = values.transpose(0, 1)
        return held[:, :, :, : self._used]

    def prompts(self, layer: int) -> tuple[Tensor, Tensor]:
        self._calls += 1
        return self._prompts[0, layer], self._prompts[1, layer]

    def unseen(self, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """See ``attention.Shared``. A window of W lets position i see i - W + 1 to i."""
        if window not in self._windows:
            self._windows[window] = self._made_unseen(window)
        return self._windows[window]

    def _made_unseen(self, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        asked = self._asked[:, :, None]
        place = torch.arange(self._prompts.shape[4], device=asked.device)
        of_prompt = (place >= self._starts[:, None, None]).expand(-1, asked.shape[1], -1)
        if window is None or window > int(asked.max()):
            filled_up = self.lanes is not None or self._prompts.shape[4] > int(self._starts[0])
            return (of_prompt if filled_up else None), self._unseen
        too_old = self._places[:, None, : self._used] <= asked - window
        return of_prompt | (place <= asked - window), too_old if self._unseen is None else too_old | self._unseen


def _side_by_side(prefixes: Sequence[Prefix]) -> Float[Tensor, "2 L h G P d"]:
    """Keys and values of prompts; a single one is not copied."""
    if len(prefixes) == 1:
        return prefixes[0].held[:, :, :, None]
    first, longest = prefixes[0].held, max(prefix.length for prefix in prefixes)
    out = first.new_zeros(*first.shape[:3], len(prefixes), longest, first.shape[4])
    for number, prefix in enumerate(prefixes):
        out[:, :, :, number, : prefix.length] = prefix.held
    return out


def _lanes(prompt_of: Int[Tensor, " B"]) -> Lanes | None:
    """Lanes of rows that are ordered by prompt; None for a single prompt."""
    counts = torch.bincount(prompt_of)
    if len(counts) <= 1:
        return None
    first = counts.cumsum(0) - counts
    return Lanes(prompt_of, torch.arange(len(prompt_of), device=counts.device) - first[prompt_of], int(counts.max()))


def _suffix_cache(branches: Branches) -> Any:
    """The cache that the network is given. It forwards everything to the branches."""
    from transformers import DynamicCache

    class SuffixCache(DynamicCache):
        def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
            held = branches.remember(layer_idx, key_states, value_states)
            return held[0], held[1]

        def get_seq_length(self, *_: Any, **__: Any) -> int:
            return int(branches._starts[0]) + branches._used

    return SuffixCache()
