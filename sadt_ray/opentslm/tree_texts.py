"""``tree/METHOD-texts.parquet``: what the text says at the nodes of a tree, and the answers that it ends in."""

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
    """Texts of the nodes ``node``, from the first token on, with the answers of each node's own samples as JSON.

    Where answers were listed the text of a leaf stops before its answer, and only the samples tell.
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
    """By node that samples end at, the share of each answer among them; what is missing to one claims none."""
    store, found = search.sample_store.arrays(), dict[int, dict[str, float]]()
    known = search.with_samples().tolist()
    for number, drawn in zip(known, search.samples(problems=known), strict=True):
        prompt, mine = problems[number].conditioning, store["problem"] == number
        assert isinstance(prompt, Prompt), "stages ask prompts"
        rows = zip(store["node"][mine].tolist(), store["log_weight"][mine], drawn.samples, strict=True)
        for node, log_share, text in rows:
            of_node = found.setdefault(node, {})
            claim = parse_answer(str(text), prompt.answers, *([prompt.marker] if prompt.marker else []))
            if claim is not None:
                of_node[claim] = of_node.get(claim, 0.0) + float(np.exp(log_share))
    return found
