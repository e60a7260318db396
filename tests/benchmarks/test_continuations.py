"""The ways that the benchmark of language models times: rows and trees draw the same texts."""

import pytest
import torch

pytest.importorskip("transformers")

from tiny_models import gemma, llama

from benchmarks.apparatus.continuations import WAYS, RandomModel
from benchmarks.lm import prompt_positions


@pytest.mark.parametrize("network", [llama(vocab_size=40, scale=1.0), gemma(vocab_size=40, window=64)])
def test_every_way_of_continuing_draws_the_same_texts(network):
    model = RandomModel(network, positions=7)
    tokens = {way: call(model, 3, 5) for way, call in WAYS.items()}
    assert len({tuple(text) for text in tokens["shared rows"].tolist()}) > 1
    for way in ("token tree", "4-D mask", "copied rows"):
        torch.testing.assert_close(tokens[way], tokens["shared rows"])
    assert tokens["generate"].shape == (3, 5)


def test_prompts_grow_with_their_series():
    positions = [prompt_positions(stage) for stage in (3, 4, 5)]
    assert positions == sorted(positions)
    assert positions[0] > 3 * 32
    assert positions[2] > 12 * 250
