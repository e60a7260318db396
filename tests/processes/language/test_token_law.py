"""The law of a token: that of transformers' own warpers, drawn by the inverse of its distribution function."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.node_cache import BoundedCache, Node
from sadt_ray.processes.language.prior import TokenLaw

LOGITS = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 40)) * 3, dtype=torch.float32)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, None, None), (0.6, None, 0.9), (1.3, 7, 0.8)])
def test_the_law_is_that_of_transformers(temperature, top_k, top_p):
    process = pytest.importorskip("transformers.generation.logits_process")
    wanted = process.TemperatureLogitsWarper(temperature)(None, LOGITS)
    wanted = wanted if top_k is None else process.TopKLogitsWarper(top_k)(None, wanted)
    wanted = wanted if top_p is None else process.TopPLogitsWarper(top_p)(None, wanted)
    torch.testing.assert_close(TokenLaw(temperature, top_k, top_p).log_probs(LOGITS), wanted.log_softmax(-1))


def test_draws_follow_the_law():
    law, u = TokenLaw(0.8, 6), np.random.default_rng(1).uniform(size=4_000)
    drawn = law.draw(LOGITS[:1].expand(4_000, -1), u).numpy()
    probability = law.log_probs(LOGITS[0]).double().exp().numpy()
    seen = np.bincount(drawn, minlength=40)
    assert (seen[probability == 0] == 0).all()
    kept = probability > 0
    assert chisquare(seen[kept], probability[kept] / probability.sum() * 4_000).pvalue > 1e-4


@given(u=st.floats(0, 1, exclude_min=True, exclude_max=True), seed=st.integers(0, 99))
def test_a_token_without_probability_is_never_drawn(u, seed):
    logits = torch.as_tensor(np.random.default_rng(seed).normal(size=(1, 50)) * 20, dtype=torch.float32)
    law = TokenLaw(1.0, 3, 0.9)
    assert torch.isfinite(law.log_probs(logits)[0, law.draw(logits, np.array([u]))[0]])


@pytest.mark.parametrize("wrong", [{"sampling_temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_laws_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TokenLaw(**wrong)


@pytest.mark.parametrize(
    ("end", "text", "closed"),
    [
        ("sentence", "It rises.", True), ("sentence", "about 0.", False), ("sentence", 'he said "no!"', True),
        ("sentence", "a line\n", True), ("sentence", "It rises", False), ("line", "It rises.", False),
        ("line", "a line\n", True), ("tokens", "It rises.\n", False),
    ],
)  # fmt: skip
def test_blocks_end_where_their_text_does(end, text, closed):
    assert Blocks(end, tokens=5).closed(text, 4) is closed
    assert Blocks(end, tokens=5).closed(text, 5)  # the longest that there is


def test_branch_steps_by_name_and_number():
    blocks = Blocks("sentence", count=5)
    named = {name: blocks.branch_steps(name) for name in ("published", "late", "start", "none")}
    assert named == {"published": (1, 2, 3, 4, 5), "late": (3, 4, 5), "start": (0, 5), "none": (5,)}
    assert Blocks("tokens", 1, 3).branch_steps("start") == (1, 3)
    with pytest.raises(ValueError, match="first token"):
        Blocks("tokens", 1, 3).branch_steps((0, 3))
    with pytest.raises(ValueError, match="ascend"):
        blocks.branch_steps((1, 2))


@given(st.integers(0, 10_000))
def test_a_bounded_cache_never_holds_a_node_whose_parent_is_gone(seed):
    rng, cache, known = np.random.default_rng(seed), BoundedCache(limit=2_000), [None]
    for number in range(60):
        parent = known[rng.integers(len(known))]
        if parent is not None and cache.path(parent) is None:
            continue
        last = rng.random() < 0.3
        cache.put((number,), Node(parent, 0, 1, torch.zeros(int(rng.integers(40)), 2)), last)
        if not last:
            cache.path((number,))
            known.append((number,))
        assert cache.nbytes <= 2_000
        assert all(cache.path(key) for key in [(n,) for n in range(number + 1) if (n,) in cache])
