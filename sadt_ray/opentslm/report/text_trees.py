"""Trees of texts: what each node adds to the text above it, and the answers below it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sadt_ray.opentslm.parse import parse_answer
from sadt_ray.runs.files import NodeTable, grouped, read_table, read_trees

SUFFIX = "-texts"
_BROKEN = "\ufffd"  # an incomplete character, whose other bytes come with the next node


@dataclass(frozen=True)
class TextTree:
    """One tree. Row k of each column is one node; parents come before children.

    Attributes:
        added: what a node adds to the text of its parent.
        claims: the part of the ``weight`` of a node (its share of the draw) that goes to each answer; the rest goes to
            no answer, or to one that the run did not record.
    """

    nodes: NodeTable
    added: tuple[str, ...]
    answers: tuple[str, ...]
    claims: Float[np.ndarray, "nodes answers"]

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, rows: np.ndarray) -> TextTree:
        """Keep only ``rows``, which ascend and include the parent of each row."""
        added = tuple(self.added[row] for row in rows)
        return TextTree(self.nodes.take(rows), added, self.answers, self.claims[rows])


def read_text_trees(folder: Path, answers: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], TextTree]:
    """Read the trees whose texts were recorded, by method and problem; empty without the folder.

    ``METHOD.parquet`` holds the nodes. ``METHOD-texts.parquet`` holds their texts (``problem``, ``node``, ``text``) and
    optionally ``answers``, a JSON object with the shares of the answers among the node's own samples. Without
    ``answers``, the answer is parsed from the texts of leaves. Raises ValueError naming the files if a node has no
    text.
    """
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        if path.stem.endswith(SUFFIX):
            continue
        texts = path.with_name(f"{path.stem}{SUFFIX}.parquet")
        told = _read_texts(texts)
        nodes = read_trees(path)
        for problem in told:
            if problem not in nodes or problem not in answers:
                raise ValueError(f"{texts} holds problem {problem!r}, which {path.name} or questions.jsonl does not")
            found[path.stem, problem] = _text_tree(nodes[problem], told[problem], tuple(answers[problem]), texts)
    return found


Told = dict[int, tuple[str, dict[str, float] | None]]
"""By node: its text, and the answers of its own samples where the file says so."""


def _read_texts(path: Path) -> dict[str, Told]:
    parts = grouped(read_table(path, ("problem", "node", "text")), "problem")
    return {
        problem: {
            row["node"]: (row["text"] or "", json.loads(row["answers"]) if row.get("answers") else None)
            for row in part.to_pylist()
        }
        for (problem,), part in parts.items()
    }


def _text_tree(nodes: NodeTable, told: Told, answers: tuple[str, ...], path: Path) -> TextTree:
    missing = [int(node) for node in nodes.node if int(node) not in told]
    if missing:
        raise ValueError(f"{path} has no text for node {missing[0]} of its tree: run the search again")
    texts = [told[int(node)][0] for node in nodes.node]
    claims = _own_claims(nodes, [told[int(node)][1] for node in nodes.node], texts, answers)
    for row in range(len(nodes) - 1, 0, -1):
        if nodes.parent[row] >= 0:
            claims[nodes.parent[row]] += claims[row]
    return TextTree(nodes, added_texts(nodes, texts), answers, claims)


def _own_claims(
    nodes: NodeTable, told: Sequence[dict[str, float] | None], texts: Sequence[str], answers: tuple[str, ...]
) -> Float[np.ndarray, "nodes answers"]:
    """The part of the draw that ends at each node, by answer."""
    column = {answer: k for k, answer in enumerate(answers)}
    claims = np.zeros((len(nodes), len(answers)))
    is_leaf = np.ones(len(nodes), bool)
    is_leaf[nodes.parent[nodes.parent >= 0]] = False
    for row in range(len(nodes)):
        shares = told[row]
        if shares is None and is_leaf[row]:
            claimed = parse_answer(texts[row], answers) if answers else None
            shares = {claimed: 1.0} if claimed is not None else {}
        for answer, share in (shares or {}).items():
            if answer in column:
                claims[row, column[answer]] = nodes.weight[row] * share
    return claims


def added_texts(nodes: NodeTable, texts: Sequence[str]) -> tuple[str, ...]:
    """What each node adds to its parent's text. A text that does not continue its parent's is kept whole."""
    before = [texts[parent].rstrip(_BROKEN) if parent >= 0 else "" for parent in nodes.parent]
    if not all(text.startswith(above) for text, above in zip(texts, before, strict=True)):
        return tuple(texts)
    return tuple(text[len(above) :] for text, above in zip(texts, before, strict=True))
