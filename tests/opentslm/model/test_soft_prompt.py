"""The soft prompt: its parts, their order, and what it must not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_opentslm import tiny_llama, tiny_tokenizer

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder, pad_to_patches
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel, embed_prompts, text_tokens
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.prompt import Prompt

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model() -> SoftPromptModel:
    torch.manual_seed(0)
    return SoftPromptModel(tiny_llama(), tiny_tokenizer(), SeriesEncoder(64).eval(), Projector(64).eval())


def wave(points: int) -> np.ndarray:
    return np.sin(np.arange(points)).astype(np.float32)


WORDS = ("before", "one is", "the other", "after")
PROMPT = Prompt(WORDS[0], WORDS[1:3], (wave(10), wave(16)), WORDS[3])


def test_each_text_has_its_own_bos_and_is_followed_by_its_patches(model: SoftPromptModel) -> None:
    table = model.network.get_input_embeddings()
    texts = [
        table(torch.tensor(model.tokenizer(text).input_ids)) for text in ("before", "one is", "the other", "after")
    ]
    patches = model.projector(model.encoder(pad_to_patches([torch.tensor(one) for one in PROMPT.series])))
    expected = torch.cat([texts[0], texts[1], patches[0], texts[2], patches[1], texts[3]])
    assert model.tokenizer("one is").input_ids[0] == model.tokenizer.bos_token_id
    torch.testing.assert_close(model.embed(PROMPT)[0], expected, rtol=0, atol=1e-6)


def test_a_shorter_series_has_as_many_patches_as_the_longest() -> None:
    padded = pad_to_patches([torch.ones(3), torch.ones(6)])
    assert padded.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0]]


def test_prompts_embedded_together_are_what_they_are_alone(model: SoftPromptModel) -> None:
    prompts = [
        PROMPT,
        Prompt("plain text"),
        Prompt("x", ("y",), (wave(40),), "z"),
        Prompt("x", ("y",), (wave(38),), ""),
    ]
    together = embed_prompts(prompts, model.network, model.tokenizer, model.encoder, model.projector)
    for prompt, rows in zip(prompts, together, strict=True):
        torch.testing.assert_close(rows, model.embed(prompt)[0], rtol=0, atol=1e-5)


def test_gradients_reach_encoder_projector_and_network() -> None:
    network, encoder, projector = tiny_llama(), SeriesEncoder(64), Projector(64)
    (rows,) = embed_prompts([PROMPT], network, tiny_tokenizer(), encoder, projector)
    network(inputs_embeds=rows[None]).logits.square().mean().backward()
    for module in (encoder, projector, network):
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in list(module.parameters())[:4])


def test_bos_is_forced_where_the_tokenizer_begins_with_it(model: SoftPromptModel) -> None:
    assert model.forced == (model.tokenizer.bos_token_id,)


def test_padding_on_the_left_loses_the_end_of_the_shorter_texts_as_it_does_upstream() -> None:
    tokenizer = tiny_tokenizer(padding_side="left")
    whole = [len(tokenizer(text).input_ids) for text in ("a long text before", "a short text", "b")]
    kept = text_tokens(Prompt("a long text before", ("a short text",), (wave(4),), "b"), tokenizer)
    assert [len(part) for part in kept] == [whole[0], 2 * whole[1] - whole[0], 0]
    assert kept[1] == tokenizer("a short text").input_ids[: len(kept[1])]


def test_a_series_that_is_too_long_or_not_finite_is_refused_at_the_door(model: SoftPromptModel) -> None:
    with pytest.raises(ValueError, match="at most 256 points"):
        model.embed(Prompt("x", ("y",), (wave(257),), "z"))
    with pytest.raises(ValueError, match=r"series 0 .* not finite"):
        model.embed(Prompt("x", ("y",), (np.array([1, np.nan], np.float32),), "z"))


def test_a_series_that_is_too_long_is_refused_before_anything_is_asked(model: SoftPromptModel) -> None:
    asked = [Problem("short", wave(256), PROMPT), Problem("long", wave(260), Prompt("a", ("b",), (wave(260),), "c"))]
    with pytest.raises(ValueError, match=r"problem 'long': a series of 260 points .* at most 256 points"):
        CausalLMProcess(model, max_tokens=4).bind(asked)
