"""Flamingo's layers: what a token may see of the series, and that it is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.opentslm_parity.tiny_base import LAYERS, LLAMA
from benchmarks.opentslm_parity.tiny_checkpoint import flamingo as flamingo_entries
from sadt_ray.opentslm.model.cross_attention import GatedCrossAttention, MaskedAttention
from sadt_ray.opentslm.model.flamingo import END_OF_CHUNK, IMAGE, flamingo_text
from sadt_ray.opentslm.model.flamingo_state import split_state
from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prefix import prefill
from sadt_ray.processes.language.prompt import Prompt

pytest.importorskip("transformers")

HIDDEN = 32


def upstreams_rule(
    block: MaskedAttention, text: torch.Tensor, latents: torch.Tensor, followed: torch.Tensor
) -> torch.Tensor:
    """Attention with every pair's mask: latents are of the first medium; -max everywhere makes a softmax uniform."""
    query, (keys, values) = block.to_q(block.norm(text)), block.to_kv(latents).chunk(2, dim=-1)
    query, keys, values = (x.unflatten(-1, (8, 64)).transpose(1, 2) for x in (query, keys, values))
    scores = query @ keys.transpose(-1, -2) / 8
    scores = scores.masked_fill(followed[None, None, :, None] != 1, -torch.finfo(torch.float32).max)
    weights = scores.softmax(-1).masked_fill(followed[None, None, :, None] == 0, 0.0)
    return block.to_out((weights @ values).transpose(1, 2).flatten(2))


def test_what_a_token_gets_is_upstreams_rule_before_after_one_and_after_several_images() -> None:
    torch.manual_seed(0)
    block, latents, text = MaskedAttention(HIDDEN), torch.randn(1, 64, 128), torch.randn(2, 6, HIDDEN)
    followed = torch.tensor([0, 0, 1, 1, 2, 3])
    expected = upstreams_rule(block, text, latents, followed)
    torch.testing.assert_close(block(text, block.read(latents), followed[None], True), expected)
    assert not expected[:, :2].any()
    assert torch.equal(expected[0, 4], expected[1, 5])


def test_closed_gates_leave_the_text_as_it_was() -> None:
    block, text = GatedCrossAttention(HIDDEN), torch.randn(1, 3, HIDDEN)
    media = block.attn.read(torch.randn(1, 64, 128))
    assert torch.equal(block(text, media, torch.tensor([[0, 1, 2]]), True), text)


def evaluate(model: LanguageModel, prompt: Prompt, tokens: list[int], **options: Any) -> torch.Tensor:
    """Logits of the last tokens, prompt and tokens at once."""
    model.condition(prompt)
    table = model.network.get_input_embeddings()
    with torch.no_grad():
        embeds = torch.cat([model.embed(prompt), table(torch.tensor([tokens]))], dim=1)
        return model.network(inputs_embeds=embeds, **options).logits[0, -len(tokens) :]


@pytest.mark.parametrize("count", [1, 3])
def test_tokens_fed_one_by_one_in_rows_get_what_they_get_at_once(
    count: int, flamingo: LanguageModel, prompts: dict[int, Prompt]
) -> None:
    at_once = torch.stack([evaluate(flamingo, prompts[count], tokens) for tokens in ([5, 6, 7], [8, 9, 5])])
    with torch.no_grad():
        cache = flamingo.network(inputs_embeds=flamingo.embed(prompts[count]), use_cache=True).past_key_values
        cache.batch_repeat_interleave(2)
        steps = [
            flamingo.network(input_ids=step, past_key_values=cache, use_cache=True).logits[:, -1]
            for step in torch.tensor([[5, 8], [6, 9], [7, 5]])[..., None]
        ]
    torch.testing.assert_close(torch.stack(steps, dim=1), at_once, rtol=0, atol=1e-4)


def test_places_decide_what_is_seen_and_not_the_order_of_evaluation(
    flamingo: LanguageModel, prompts: dict[int, Prompt]
) -> None:
    """Two branches as a tree in one row, by a 4-D mask and places that repeat."""
    prompt = prompts[1]
    alone = [evaluate(flamingo, prompt, [token])[0] for token in (5, 9)]
    with torch.no_grad():
        embeds = flamingo.embed(prompt)
        length = embeds.shape[1]
        cache = flamingo.network(inputs_embeds=embeds, use_cache=True).past_key_values
        mask = torch.zeros(1, 1, 2, length + 2)
        mask[..., 0, length + 1] = mask[..., 1, length] = -torch.inf
        places = torch.full((1, 2), length)
        out = flamingo.network(
            input_ids=torch.tensor([[5, 9]]), attention_mask=mask, position_ids=places, past_key_values=cache
        )
    torch.testing.assert_close(out.logits[0], torch.stack(alone), rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_branches_that_share_a_prompt_see_what_each_sees_alone(
    count: int, flamingo: LanguageModel, prompts: dict[int, Prompt]
) -> None:
    alone = torch.stack([evaluate(flamingo, prompts[count], tokens) for tokens in ([5, 6], [8, 9])])
    prefix = prefill(flamingo, prompts[count])
    branches = Branches(flamingo.network, [(prefix, 2)], 4)
    fed = [
        branches.feed(torch.tensor([[a], [b]]), torch.full((2, 1), slot)).logits[:, 0]
        for slot, (a, b) in enumerate([(5, 8), (6, 9)])
    ]
    torch.testing.assert_close(torch.stack(fed, dim=1), alone, rtol=0, atol=1e-4)


def test_the_series_of_a_prompt_are_read_once(flamingo: Any, prompts: dict[int, Prompt]) -> None:
    read: list[int] = []
    flamingo.to("cpu")  # forgets the prompt of the test before
    handle = flamingo.resampler.register_forward_pre_hook(lambda *_: read.append(1))
    for count in (3, 1, 1, 3):
        flamingo.condition(prompts[count])
        evaluate(flamingo, prompts[count], [5])
    again = Prompt(prompts[3].pre, prompts[3].texts, tuple(one.copy() for one in prompts[3].series), prompts[3].post)
    flamingo.condition(again)
    handle.remove()
    assert len(read) == 3


def test_without_series_or_without_condition_it_says_what_to_do(flamingo: Any, prompts: dict[int, Prompt]) -> None:
    with pytest.raises(ValueError, match="give the prompt at least one"):
        flamingo.embed(Prompt("plain text"))
    embeds = flamingo.embed(prompts[1])
    flamingo.to("cpu")
    with pytest.raises(ValueError, match=r"condition\(\) was not called"):
        flamingo.network(inputs_embeds=embeds)


def test_the_text_of_a_prompt_is_upstreams() -> None:
    prompt = Prompt("pre", ("one", "two"), (torch.ones(4).numpy(),) * 2, "post")
    assert flamingo_text(prompt) == f"pre {IMAGE} one {END_OF_CHUNK} {IMAGE} two {END_OF_CHUNK} post"


def test_every_tensor_of_a_file_is_read_by_one_of_its_names() -> None:
    state = flamingo_entries(LLAMA, 258)["model_state"]
    parts = split_state(state)
    read = [tensor.data_ptr() for part in vars(parts).values() for tensor in part.values()]
    assert len(state) > 2 * len(read)
    assert set(read) == {tensor.data_ptr() for tensor in state.values()}
    assert len(read) == len(set(read)) + 1  # the head is tied to the embeddings
    assert {name.split(".")[0] for name in parts.gated} == {str(i) for i in range(LAYERS)}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped")
def test_a_flamingos_weights_stay_in_its_file(flamingo: Any) -> None:
    """In float32 nothing is copied: the first layer's weight lies in the mapped checkpoint."""
    first, second = (layer.self_attn.q_proj.weight for layer in flamingo.network.model.layers[:2])
    assert first.untyped_storage().data_ptr() != second.untyped_storage().data_ptr()
    mapped = _mapped_ranges("model_checkpoint.pt")
    assert all(any(start <= weight.data_ptr() < stop for start, stop in mapped) for weight in (first, second))


def _mapped_ranges(name: str) -> list[tuple[int, int]]:
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    places = [words[0].split("-") for words in lines if words[-1].endswith(name)]
    return [(int(start, 16), int(stop, 16)) for start, stop in places]
