"""Branches of a prompt: rows, trees in one row, windows; each text is what it is when evaluated alone."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from tiny_models import TinyModel, gemma, llama, question

from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.prefix import prefill

NETWORKS = {"llama": llama(vocab_size=30), "gemma": gemma(vocab_size=30)}
#         0
#       / | \
#      1  2  3        tokens of a tree, by node
#     / \     \
#    4   5     6
PARENTS = [-1, 0, 0, 0, 1, 1, 3]
DEPTHS = [0, 1, 1, 1, 2, 2, 2]
TOKENS = [7, 3, 9, 11, 4, 20, 21]


def alone(network, problem, tokens):
    """Logits after a text by one evaluation of prompt and text."""
    model = TinyModel(network)
    said = torch.tensor([[*model.forced, *tokens]])
    with torch.inference_mode():
        given = torch.cat([model.embed(problem.conditioning), network.get_input_embeddings()(said)], 1)
        return network(inputs_embeds=given, use_cache=False).logits[0, -1]


def path_to(node):
    return [] if node < 0 else [*path_to(PARENTS[node]), node]


def tree_in_one_row(network, problem, ancestors):
    branches = Branches(network, [(prefill(TinyModel(network), problem.conditioning), 1)], len(TOKENS))
    nodes = torch.arange(len(TOKENS))[None]
    fed = branches.feed(torch.tensor([TOKENS]), nodes, torch.tensor([DEPTHS]), ancestors[None], keep=len(TOKENS))
    return fed.logits[0]


def right_mask():
    seen = torch.zeros(len(TOKENS), len(TOKENS), dtype=torch.bool)
    for node in range(len(TOKENS)):
        seen[node, path_to(node)] = True
    return seen


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("positions", [2, 9])
def test_a_tree_in_one_row_is_each_path_alone(name, positions):
    problem = question("q", positions=positions)
    logits = tree_in_one_row(NETWORKS[name], problem, right_mask())
    for node in range(len(TOKENS)):
        wanted = alone(NETWORKS[name], problem, [TOKENS[i] for i in path_to(node)])
        assert (logits[node] - wanted).abs().max() < 1e-5 * (1 + wanted.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrong_mask_shows(name):
    problem, wrong = question("q"), right_mask()
    wrong[4, 5] = True  # a sibling
    difference = tree_in_one_row(NETWORKS[name], problem, wrong) - tree_in_one_row(
        NETWORKS[name], problem, right_mask()
    )
    assert difference[4].abs().max() > 1e-2
    assert difference[:4].abs().max() < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("positions", [(3, 11), (11, 3)])
def test_rows_of_several_prompts_and_lengths_are_each_what_they_are_alone(name, positions):
    network, rng = NETWORKS[name], np.random.default_rng(0)
    problems = [question("q", positions=positions[0]), question("other", positions=positions[1])]
    parts = [(prefill(TinyModel(network), problem.conditioning), 2) for problem in problems]
    texts = [rng.integers(2, 30, length).tolist() for length in (1, 6, 4, 2)]
    branches = Branches(network, parts, 12)
    padded = torch.tensor([[0] * (6 - len(text)) + text for text in texts])
    slots = torch.tensor([list(range(len(text) - 6, len(text))) for text in texts])
    first = branches.feed(padded, slots).logits[:, 0]
    branches.take(torch.tensor([1, 2, 3]))
    then = branches.feed(torch.tensor([[5], [6], [7]]), torch.tensor([[6], [4], [2]])).logits[:, 0]
    for row, text in enumerate(texts):
        torch.testing.assert_close(first[row], alone(network, problems[row // 2], text), atol=2e-5, rtol=1e-5)
    for row, token in zip((1, 2, 3), (5, 6, 7), strict=True):
        wanted = alone(network, problems[row // 2], [*texts[row], token])
        torch.testing.assert_close(then[row - 1], wanted, atol=2e-5, rtol=1e-5)


def test_a_window_hides_what_is_older():
    wide, narrow = gemma(vocab_size=30, window=64), gemma(vocab_size=30, window=4)
    problem = question("q", positions=9)
    assert (alone(wide, problem, TOKENS) - alone(narrow, problem, TOKENS)).abs().max() > 1e-2  # it matters here
    model = TinyModel(narrow)
    branches = Branches(narrow, [(prefill(model, problem.conditioning), 1)], 8)
    for slot, token in enumerate(TOKENS):
        fed = branches.feed(torch.tensor([[token]]), torch.tensor([[slot]]))
    torch.testing.assert_close(fed.logits[0, 0], alone(narrow, problem, TOKENS), atol=2e-5, rtol=1e-5)


def test_keys_and_values_that_were_kept_are_as_good_as_those_computed():
    network, problem = NETWORKS["gemma"], question("q")
    prefix = prefill(TinyModel(network), problem.conditioning)
    first = Branches(network, [(prefix, 1)], 8)
    first.feed(torch.tensor([TOKENS[:5]]), torch.arange(5)[None])
    second = Branches(network, [(prefix, 2)], 8)
    for row in range(2):
        second.load(row, 0, first.segment(0, 0, 2))
        second.load(row, 2, first.segment(0, 2, 5))
    fed = second.feed(torch.tensor([[TOKENS[5]], [8]]), torch.tensor([[5], [5]]))
    for row, token in enumerate((TOKENS[5], 8)):
        wanted = alone(network, problem, [*TOKENS[:5], token])
        torch.testing.assert_close(fed.logits[row, 0], wanted, atol=2e-5, rtol=1e-5)


def test_the_network_attends_as_before_afterwards():
    network, problem = NETWORKS["llama"], question("q")
    before, name = alone(network, problem, TOKENS), network.config._attn_implementation
    tree_in_one_row(network, problem, right_mask())
    with pytest.raises(IndexError):
        Branches(network, [(prefill(TinyModel(network), problem.conditioning), 1)], 2).feed(
            torch.tensor([[99]]), torch.tensor([[0]])
        )
    assert network.config._attn_implementation == name
    torch.testing.assert_close(alone(network, problem, TOKENS), before)


def test_a_network_with_an_attention_of_its_own_is_refused():
    network = llama()
    for layer in network.model.layers:
        layer.self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(ValueError, match="registry"):
        Branches(network, [(prefill(TinyModel(llama()), question("q").conditioning), 1)], 2).feed(
            torch.tensor([[3]]), torch.tensor([[0]])
        )


def test_branches_in_bfloat16_stay_close_to_float32():
    network, problem = llama(vocab_size=30, scale=1.0), question("q")
    wanted = alone(network, problem, TOKENS)
    half = llama(vocab_size=30, scale=1.0).bfloat16()
    branches = Branches(half, [(prefill(TinyModel(half), problem.conditioning), 1)], 8)
    fed = branches.feed(torch.tensor([TOKENS]), torch.arange(len(TOKENS))[None])
    assert fed.logits.dtype == torch.bfloat16
    assert (fed.logits[0, 0].float() - wanted).abs().max() < 0.1 * wanted.abs().max()
