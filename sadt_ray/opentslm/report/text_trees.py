"""Trees whose nodes are texts: what each adds to the text above it, and which answers lie below it."""

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
_BROKEN = "\ufffd"  # the first bytes of a character whose others come with the next node


@dataclass(frozen=True)
class TextTree:
    """One tree; row k of every column is one node, parents before children.

    Attributes:
        added: what a node adds to the text of its parent.
        claims: how the share of the draw below a node, its ``weight``, divides among the answers; what is missing ends
            in none of them, or in what the run does not say.
    """

    nodes: NodeTable
    added: tuple[str, ...]
    answers: tuple[str, ...]
    claims: Float[np.ndarray, "nodes answers"]

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, rows: np.ndarray) -> TextTree:
        """The ascending ``rows`` alone; they must hold the parent of each of them."""
        added = tuple(self.added[row] for row in rows)
        return TextTree(self.nodes.take(rows), added, self.answers, self.claims[rows])


def read_text_trees(folder: Path, answers: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], TextTree]:
    """By method and problem, the trees whose texts were kept; none without the folder.

    ``METHOD.parquet`` holds the nodes, ``METHOD-texts.parquet`` what the text says at each of them (``problem``,
    ``node``, ``text``) and perhaps (``answers``) a JSON object of the answers that the node's own samples end in, as
    shares of the node. Without it the answer is read off the texts of leaves. Raises ValueError for a node without its
    text, naming the files.
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
    """Of the share of the draw that ends at each node, what goes to each answer."""
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
    """What each node adds, of texts that go on where their parent's stop; other texts as they are."""
    before = [texts[parent].rstrip(_BROKEN) if parent >= 0 else "" for parent in nodes.parent]
    if not all(text.startswith(above) for text, above in zip(texts, before, strict=True)):
        return tuple(texts)
    return tuple(text[len(above) :] for text, above in zip(texts, before, strict=True))
