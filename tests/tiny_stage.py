"""A tiny stage: windows of two activities as a CSV, and a stand-in with random weights to ask about them."""

import json

import numpy as np
import torch

from sadt_ray.opentslm.data import stage_problem
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel
from sadt_ray.opentslm.stand_in.base_model import fit_tokenizer, tiny_llama
from sadt_ray.opentslm.stand_in.library import save_stand_in


def windows(count, seed=0, subjects=4):
    """Rows of a CSV of HAR windows, each of two labels with its own rhythm."""
    rng = np.random.default_rng(seed)
    time = np.arange(128) / 50
    rows = []
    for i in range(count):
        label, rhythm = (("walking", 2.0), ("running", 6.0))[i % 2]
        axes = np.sin(2 * np.pi * rhythm * time + rng.uniform(0, 6, 3)[:, None]) + 0.3 * rng.standard_normal((3, 128))
        cells = {f"{axis}_axis": json.dumps(values.round(3).tolist()) for axis, values in zip("xyz", axes, strict=True)}
        rows.append(
            {
                **cells,
                "label": label,
                "rationale": f"It repeats. Answer: {label}",
                "source": f"subject {i // 2 % subjects}",
            }
        )
    return rows


def window_problems(count):
    """The same as problems of stage 3."""
    rows = [{k: json.loads(cell) if k.endswith("axis") else cell for k, cell in row.items()} for row in windows(count)]
    return [stage_problem(3, row, f"window {i}", row["source"]) for i, row in enumerate(rows)]


def write_csv(path, rows):
    import pandas

    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def random_stand_in(directory):
    """A stand-in in the published layout with random weights: its texts are noise, and some of them claim an answer."""
    torch.manual_seed(0)
    texts = [f"It repeats. Answer: {label}" for label in ("walking", "running", "sitting")] * 40
    tokenizer = fit_tokenizer(texts, ["Answer:"])
    network = tiny_llama(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    network.get_input_embeddings().weight.data[tokenizer.convert_tokens_to_ids("Answer:")] *= 3
    model = SoftPromptModel(network, tokenizer, SeriesEncoder(64), Projector(network.config.hidden_size))
    return save_stand_in(model, directory, {"stage": "har", "seed": 0})
