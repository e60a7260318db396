"""Answers that are listed: the same probabilities as if they had been drawn, by brute force."""

import numpy as np
import pytest

pytest.importorskip("transformers")

from tiny_models import ANSWERS, TinyModel, gemma, llama, next_token_logits, question, tokenizer

from sadt_ray.processes.language.answers import choices_after, said_after
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.prior import TokenLaw
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.texts import Texts

MODELS = {"llama": TinyModel(llama(scale=1.0)), "gemma": TinyModel(gemma())}
SPELLED = {" walk": (5,), " walk_up": (5, 6), " run": (7,)}
ANNOUNCED = [(2, 3, 4), (4,), (2, 2, 3, 7, 4)]


def chain(model, problems, **options):
    return CausalLMProcess(MODELS[model], max_tokens=8, blocks=Blocks("tokens", 2, 4), **options).bind(problems)


def state_of(tokens):
    return np.array([1, *tokens, *[-1] * (7 - len(tokens))], np.int32)


def log_prob(model, problem, tokens, answer, law):
    """Of an answer and the end of the text after it, one token after the other."""
    total = 0.0
    for token in answer:
        total += float(law.log_probs(next_token_logits(MODELS[model], problem, tokens))[token])
        tokens = (*tokens, token)
    return total


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("law", [{}, {"sampling_temperature": 0.7, "top_k": 6, "top_p": 0.95}])
@pytest.mark.parametrize("ends", [True, False])
def test_answers_have_the_probabilities_of_brute_force(model, law, ends):
    names = ANSWERS if ends else ("walk", "run")
    problems = [question("q", answers=names, ends=ends), question("other", positions=9, answers=names, ends=ends)]
    states, problem = np.stack([state_of(tokens) for tokens in ANNOUNCED]), np.array([1, 0, 1])
    listed = chain(model, problems, **law).complete(states, problem)
    for row, tokens in enumerate(ANNOUNCED):
        mine = listed.rows == row
        found = dict(zip(listed.samples[mine].tolist(), listed.log_probs[mine], strict=True))
        said = Texts(MODELS[model]).sample(tokens)
        wanted = {}
        for name in names:
            answer = (*SPELLED[f" {name}"], *[0] * ends)
            wanted[f"{said} {name}"] = log_prob(model, problems[problem[row]], tokens, answer, TokenLaw(**law))
        wanted = {text: p for text, p in wanted.items() if np.isfinite(p)}
        assert {text: found[text] for text in wanted} == pytest.approx(wanted, abs=2e-5)
        assert set(found) - set(wanted) <= {said}
        assert np.exp(listed.log_probs[mine]).sum() == pytest.approx(1)
    assert listed.nfe.tolist() == [3 if ends else 0] * 3  # walk, walk_up and run; "walk" is evaluated once


def test_rows_of_all_kinds_keep_their_order():
    problems = [question("q"), question("captioned", answers=())]
    states = np.stack([state_of(tokens) for tokens in [(4,), (2, 0), (2, 3), (4,), (2, 4)]])
    problem = np.array([0, 0, 0, 1, 0])
    listed = chain("gemma", problems).complete(states, problem)
    assert listed.rows.tolist() == sorted(listed.rows)
    assert np.bincount(listed.rows).tolist() == [4, 1, 1, 1, 4]
    assert listed.samples[listed.rows == 3].tolist() == [" Answer:"]
    assert listed.nfe.tolist() == [3, 0, 0, 0, 3]
    alone = chain("gemma", problems).complete(states[4:], problem[4:])
    np.testing.assert_allclose(alone.log_probs, listed.log_probs[listed.rows == 4], atol=1e-6)


def test_what_comes_after_the_marker_is_not_said_twice():
    words = ("</s>", "<s>", " a", " Answer:", " ru", "n", " run", "n_", "_x")
    texts = Texts(TinyModel(llama(), tokenizer(words)))
    prompt = question("q", answers=("run", "walk")).conditioning
    assert said_after(" a Answer: ru", prompt) == " ru"
    assert said_after(" a", prompt) is None
    choices = choices_after(" ru", prompt, texts)
    assert choices.texts == ("n",)  # "walk" is ruled out
    assert choices_after("", prompt, texts).texts == (" run", " walk")
    assert choices_after("\n", prompt, texts).texts == choices_after(" ", prompt, texts).texts == ("run", "walk")


def test_answers_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="' walk_up' begins with the answer ' walk'"):
        chain("llama", [question("q", ends=False)]).complete(state_of((4,))[None], np.zeros(1, int))
