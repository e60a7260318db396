"""``tree/METHOD-texts.parquet``: the text at each node of a tree, and the answers of its samples."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.parse import parse_answer
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.tree.search import Search


def write_tree_texts(
    run: Path,
    method: str,
    search: Search,
    problems: Sequence[Problem],
    node: Int[np.ndarray, " n"],
    texts: Sequence[str] | np.ndarray,
) -> None:
    """Write the texts of some nodes, with the answers of each node's own samples as JSON.

    If answers are enumerated, the text of a leaf stops before its answer, and only its samples have one.

    Args:
        run: the run directory.
        method: name of the method.
        search: the search with the tree.
        problems: the questions.
        node: numbers of the nodes.
        texts: whole text of each node.
    """
    shares = node_answers(search, problems)
    problem = search.problem_of_nodes()[node]
    table = pa.table(
        {
            "problem": np.array(search.names)[problem],
            "node": np.asarray(node, np.int64),
            "text": [str(text) for text in texts],
            "answers": [json.dumps(shares.get(int(one), {})) for one in node],
        }
    )
    (run / "tree").mkdir(exist_ok=True)
    path = run / "tree" / f"{method}-texts.parquet"
    unfinished = path.with_name(path.name + ".writing")
    pq.write_table(table, unfinished, compression="zstd")
    os.replace(unfinished, path)


def node_answers(search: Search, problems: Sequence[Problem]) -> dict[int, dict[str, float]]:
    """Share of each answer among the samples that end at a node, by node; the rest, up to 1, claims no answer."""
    store, found = search.sample_store.arrays(), dict[int, dict[str, float]]()
    known = search.with_samples().tolist()
    for number, drawn in zip(known, search.samples(problems=known), strict=True):
        prompt, mine = problems[number].conditioning, store["problem"] == number
        assert isinstance(prompt, Prompt), "problems of stages are conditioned on prompts"
        rows = zip(store["node"][mine].tolist(), store["log_weight"][mine], drawn.samples, strict=True)
        for node, log_share, text in rows:
            of_node = found.setdefault(node, {})
            claim = parse_answer(str(text), prompt.answers, *([prompt.marker] if prompt.marker else []))
            if claim is not None:
                of_node[claim] = of_node.get(claim, 0.0) + float(np.exp(log_share))
    return found
