"""The chain over tokens against exhaustive sums, and what must not matter: batch, caches, where a text was resumed."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import chi2

pytest.importorskip("transformers")

from tiny_models import TinyModel, all_texts, gemma, llama, next_token_logits, question, texts_of

from sadt_ray.interfaces import Completes, Enumerable, GenerativeProcess, Problem, RunsDown, Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.prior import TokenLaw
from sadt_ray.processes.language.process import CausalLMProcess, Loader
from sadt_ray.processes.walk import Walks
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.sampler import ParticleSampler

MARKER = 4
LOADED = []
QUESTIONS = [question("q"), question("other", positions=9)]
LLAMA, GEMMA = llama(), gemma()
MODELS = {"llama": TinyModel(LLAMA), "gemma": TinyModel(GEMMA)}


def process(model="llama", max_tokens=8, blocks=None, **options):
    chosen = MODELS[model] if isinstance(model, str) else model
    return CausalLMProcess(chosen, max_tokens=max_tokens, blocks=blocks or Blocks("tokens", 2, 4), **options)


def from_the_root(bound, count, seed=0):
    problem = np.arange(count) % 2
    states = bound.root_states()[problem]
    return *texts_of(bound, states, np.zeros(count, int), problem, seed), problem


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("answers", ["enumerated", "sampled"])
@pytest.mark.parametrize("law", [{}, {"sampling_temperature": 0.6, "top_k": 5, "top_p": 0.9}])
def test_texts_have_the_probabilities_of_the_exhaustive_sum(model, answers, law):
    bound = process(model, max_tokens=4, answers=answers, **law).bind(QUESTIONS[:1])
    truth = all_texts(
        MODELS[model], QUESTIONS[0], TokenLaw(**law).log_probs, 3, MARKER if answers == "enumerated" else None
    )
    assert np.isclose(sum(truth.values()), 1, atol=1e-5)
    count = 2_000
    ends, _ = texts_of(bound, np.repeat(bound.root_states(), count, 0), np.zeros(count, int), np.zeros(count, int))
    texts, seen = np.unique(ends, axis=0, return_counts=True)
    drawn = {tuple(text[1 : (text >= 0).sum()].tolist()): n for text, n in zip(texts, seen, strict=True)}
    assert set(drawn) <= set(truth)
    assert (ends[:, 0] == 1).all()
    likely = [text for text, p in truth.items() if p * count >= 5]
    expected = np.array([truth[text] * count for text in likely])
    observed = np.array([drawn.get(text, 0) for text in likely])
    expected, observed = np.append(expected, count - expected.sum()), np.append(observed, count - observed.sum())
    assert ((observed - expected) ** 2 / np.maximum(expected, 1)).sum() < chi2.ppf(1 - 1e-4, len(expected) - 1)


@pytest.mark.parametrize(
    ("model", "steps"), [("llama", (1, 2, 3, 4)), ("gemma", (1, 2, 3, 4)), ("gemma", (0, 1, 3, 4))]
)
def test_level_by_level_and_from_any_node_is_the_run_down(model, steps):
    bound, fresh = (process(model, branch_steps=steps).bind(QUESTIONS) for _ in range(2))
    ends, path, problem = from_the_root(bound, 24)
    seeds = derive_seeds(0, 0, np.arange(24))
    states, levels, nfe = fresh.root_states()[problem], np.zeros(24, int), np.zeros(24, int)
    passed = set()
    while (live := np.flatnonzero(levels < 4)).size:
        step = fresh.advance(states[live], levels[live], problem[live], seeds[live])
        states[live], levels[live] = step.states, step.levels
        nfe[live] += step.nfe
        passed |= {(row, level, *state) for row, level, state in zip(live, step.levels, step.states, strict=True)}
    np.testing.assert_array_equal(states, ends)
    np.testing.assert_array_equal(nfe, path.nfe)
    assert passed == {(r, v, *s) for r, v, s in zip(path.rows, path.levels, path.states, strict=True)}
    nodes = path.levels < 4
    rows = path.rows[nodes]
    again = fresh.run_down(path.states[nodes], path.levels[nodes], problem[rows], seeds[rows])
    last = again.levels == 4
    np.testing.assert_array_equal(again.states[last][np.argsort(again.rows[last])], ends[rows])


@pytest.mark.parametrize("together", [False, True])
def test_a_row_is_what_it_is_alone(together):
    model = TinyModel(LLAMA, one_prompt_at_a_time=not together)
    bound = process(model).bind(QUESTIONS)
    ends, path, problem = from_the_root(bound, 16)
    for row in (0, 5, 10):
        alone = process().bind(QUESTIONS)
        path_alone = alone.run_down(
            alone.root_states()[problem[[row]]], np.zeros(1, int), problem[[row]], derive_seeds(0, 0, np.array([row]))
        )
        np.testing.assert_array_equal(path_alone.states, path.states[path.rows == row])
    features = bound.features(ends, np.full(16, 4), problem)
    one_by_one = [
        alone.features(ends[[row]], np.full(1, 4), problem[[row]])[0] for row in range(16)
    ]  # fmt: skip
    np.testing.assert_allclose(features, one_by_one, atol=2e-5)


@pytest.mark.parametrize("limit", [0, 1_500, 4_000])
def test_with_little_memory_all_is_as_before_and_the_bound_is_kept(limit):
    free, bound = process().bind(QUESTIONS), process(memory_limit=limit).bind(QUESTIONS)
    ends, path, problem = from_the_root(free, 16)
    other, other_path, _ = from_the_root(bound, 16)
    np.testing.assert_array_equal(other, ends)
    np.testing.assert_array_equal(other_path.nfe, path.nfe)
    np.testing.assert_allclose(
        bound.features(ends, np.full(16, 4), problem), free.features(ends, np.full(16, 4), problem), atol=1e-5
    )
    np.testing.assert_allclose(
        bound.complete(ends, problem).log_probs, free.complete(ends, problem).log_probs, atol=1e-5
    )
    assert bound.decoder.cache.nbytes <= limit
    assert free.decoder.cache.nbytes > 4_000  # the limits meant something


@pytest.mark.parametrize("model", MODELS)
def test_features_are_the_last_hidden_states_of_a_full_evaluation_warm_and_cold(model):
    bound = process(model).bind(QUESTIONS)
    _, path, problem = from_the_root(bound, 12)
    states = np.concatenate([path.states, bound.root_states()])
    of = np.concatenate([problem[path.rows], [0, 1]])
    levels = np.append(path.levels, [0, 0])
    warm = bound.features(states, levels, of)
    cold = process(model).bind(QUESTIONS).features(states, levels, of)
    np.testing.assert_allclose(warm, cold, atol=2e-5)
    embed, network = MODELS[model].network.get_input_embeddings(), MODELS[model].network
    for state, p, row in zip(states, of, warm, strict=True):
        said = torch.tensor([state[state >= 0].tolist()])
        with torch.inference_mode():
            given = torch.cat([MODELS[model].embed(QUESTIONS[p].conditioning), embed(said)], 1)
            out = network(inputs_embeds=given, output_hidden_states=True, use_cache=False)
        np.testing.assert_allclose(row, out.hidden_states[-1][0, -1].numpy(), atol=2e-5)


def test_features_of_nodes_that_were_passed_cost_no_evaluation():
    bound = process().bind(QUESTIONS)
    _, path, problem = from_the_root(bound, 12)
    nodes = path.levels < 4
    calls = []
    handle = LLAMA.model.register_forward_hook(lambda *_: calls.append(1))
    bound.features(path.states[nodes], path.levels[nodes], problem[path.rows[nodes]])
    handle.remove()
    assert not calls


def test_a_prompt_is_evaluated_once_and_the_model_is_conditioned_on_it_before():
    model = TinyModel(LLAMA)
    bound = process(model).bind(QUESTIONS)
    lengths = []
    handle = LLAMA.model.register_forward_hook(
        lambda _, args, kwargs, out: lengths.append(out.last_hidden_state.shape[1]), with_kwargs=True
    )
    from_the_root(bound, 12)
    from_the_root(bound, 12, seed=1)
    handle.remove()
    assert [length for length in lengths if length > 1] == [5, 9]
    assert [name for name, before in zip(model.asked, [None, *model.asked], strict=False) if name != before] == [
        "q", "other", "q", "other"
    ]  # fmt: skip


def test_a_text_that_has_ended_stays_as_it_is_at_any_level():
    bound = process(max_tokens=5).bind(QUESTIONS)
    ended = np.array([[1, 2, 0, -1, -1], [1, 2, MARKER, -1, -1], [1, 2, 2, 2, 2]], np.int32)
    problem, levels = np.zeros(3, int), np.array([1, 2, 1])
    step = bound.advance(ended, levels, problem, derive_seeds(0, 0, np.arange(3)))
    assert step.levels.tolist() == [4, 4, 4]
    assert step.nfe.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(step.states, ended)


def test_an_answer_that_a_text_begins_with_is_listed_before_anything_is_drawn():
    asked = question("q", answers=(" walk", " run"), marker="", ends=False)
    bound = process().bind([asked])
    ends, path = texts_of(bound, np.repeat(bound.root_states(), 3, 0), np.zeros(3, int), np.zeros(3, int))
    np.testing.assert_array_equal(ends, np.repeat(bound.root_states(), 3, 0))
    assert path.nfe.tolist() == [0, 0, 0]
    listed = bound.complete(ends[:1], np.zeros(1, int))
    truth = next_token_logits(MODELS["llama"], asked, ()).log_softmax(-1)[[5, 7]]
    np.testing.assert_allclose(listed.log_probs[:2], truth, atol=1e-5)
    assert listed.samples.tolist() == [" walk", " run", ""]


@pytest.mark.parametrize("preset", ["published", "late", "start", "none", (0, 2, 4)])
def test_levels_are_where_the_branch_steps_say(preset):
    branching = process().with_branch_steps(preset)
    bound = branching.bind(QUESTIONS)
    ends, path, _ = from_the_root(bound, 16)
    reference, _, _ = from_the_root(process().bind(QUESTIONS), 16)
    np.testing.assert_array_equal(ends, reference)  # the prior is the same
    for row, level, state in zip(path.rows, path.levels, path.states, strict=True):
        step, length = branching.branch_steps[level - 1], int((state >= 0).sum()) - 1
        if level < branching.num_levels:
            assert length == (1 if step == 0 else 2 * step)
        np.testing.assert_array_equal(state[: length + 1], ends[row, : length + 1])


def test_children_are_the_likeliest_tokens_with_their_probabilities():
    bound = process(blocks=Blocks("tokens", 1, 4), enumerated=3).bind(QUESTIONS)
    state = bound.root_states()[0]
    states, log_probs = bound.children(state, 0, 0)
    truth = next_token_logits(MODELS["llama"], QUESTIONS[0], ()).log_softmax(-1)
    assert states[:, 1].tolist() == truth.topk(3).indices.tolist()
    np.testing.assert_allclose(log_probs, truth.topk(3).values, atol=1e-5)
    with pytest.raises(ValueError, match="one token"):
        process().bind(QUESTIONS).children(state, 0, 0)


def test_greedy_texts_are_the_likeliest_tokens():
    bound = process(max_tokens=6, sampling_temperature=0.0, answers="sampled").bind(QUESTIONS[:1])
    ends, _ = texts_of(bound, bound.root_states(), np.zeros(1, int), np.zeros(1, int))
    tokens = []
    while len(tokens) < 5 and tokens[-1:] != [0]:
        tokens.append(int(next_token_logits(MODELS["llama"], QUESTIONS[0], tokens).argmax()))
    assert ends[0][ends[0] >= 0].tolist() == [1, *tokens]


def test_a_walk_comes_where_a_run_down_comes_and_ended_rows_stand_still():
    bound = process().bind(QUESTIONS)
    ends, path, problem = from_the_root(bound, 16)
    seeds, order = derive_seeds(0, 0, np.arange(16)), np.arange(16)
    walk = bound.walk(bound.root_states()[problem], 0, problem)
    spent = np.zeros(16, int)
    while walk.position < bound.level_positions[-1]:
        before, shuffled = walk.states(), np.random.default_rng(walk.position).permutation(16)
        walk.take(shuffled)
        order = order[shuffled]
        ended = np.array([bound.ended(state, problem[row]) for state, row in zip(before[shuffled], order, strict=True)])
        walk.step(seeds[order])
        nfe = walk.take_nfe()
        assert (nfe[ended] == 0).all()
        assert (nfe[~ended] > 0).all()
        spent[order] += nfe
        assert walk.look().features().shape == (16, 16)
    np.testing.assert_array_equal(walk.states(), ends[order])
    np.testing.assert_array_equal(spent, path.nfe)


def test_it_is_what_searches_ask_for():
    made = process()
    bound = made.bind(QUESTIONS)
    assert isinstance(made, GenerativeProcess)
    assert all(isinstance(bound, protocol) for protocol in (RunsDown, Completes, Enumerable, Walks))


def test_a_process_travels_without_the_model_that_it_has_loaded():
    made = CausalLMProcess(Loader(load_tiny, {"seed": 3}), max_tokens=8, blocks=Blocks("tokens", 2, 4))
    ends, _, _ = from_the_root(made.bind(QUESTIONS), 4)
    parcel = pickle.dumps(made)
    assert len(parcel) < 2_000
    other, _, _ = from_the_root(pickle.loads(parcel).bind(QUESTIONS), 4)
    np.testing.assert_array_equal(other, ends)


def load_tiny(seed):
    LOADED.append(seed)
    return TinyModel(llama(seed=seed))


def test_processes_of_one_model_load_it_once_and_another_device_has_a_replica_of_its_own():
    LOADED.clear()
    made = CausalLMProcess(Loader(load_tiny, {"seed": 5}), max_tokens=8)
    others = made.with_branch_steps("none"), made.with_answers("sampled"), made.with_law(top_k=3)
    assert not LOADED
    assert all(other.model is made.model for other in others)
    assert LOADED == [5]
    assert made.with_device("cpu").model is not made.model
    assert LOADED == [5, 5]
    given = process()
    assert given.with_device("cpu").model is not given.model  # the one that was given stays where it is


def test_what_cannot_be_is_said_with_its_name():
    with pytest.raises(ValueError, match="'guessed'"):
        process(answers="guessed")
    with pytest.raises(ValueError, match="problem 'series'"):
        process().bind([Problem("series", np.zeros(3))])
    with pytest.raises(ValueError, match="problem 'empty'"):
        from_the_root(process().bind([question("empty", positions=0)] * 2), 2)
    with pytest.raises(ValueError, match="max_tokens is 1"):
        process(max_tokens=1).bind(QUESTIONS)
    with pytest.raises(ValueError, match="'often'"):
        process().with_branch_steps("often")


class HiddenTwist:
    """log psi by the last hidden state: of no use, but sweeps must make up for it."""

    idle = differentiable = False
    reward_calls, nfe, tilt = 0, 0.0, None

    def __call__(self, view):
        return view.features()[:, :3].sum(1)


@pytest.mark.parametrize("resampling", ["systematic", "siblings-2"])
def test_sweeps_of_texts_estimate_z_without_bias(resampling):
    lam, config = 2.0, SMCConfig(particles=4, resampling=resampling)
    made = process(max_tokens=4, answers="sampled", blocks=Blocks("tokens", 1, 3))
    bound = made.bind(QUESTIONS[:1])

    def score(samples, problem):
        return np.char.count(samples, "run").astype(float)

    texts = all_texts(MODELS["llama"], QUESTIONS[0], TokenLaw().log_probs, 3, None)
    z = sum(p * np.exp(lam * score(np.array([bound.texts.sample(text)]), None)[0]) for text, p in texts.items())
    count = 400
    tickets = Tickets(
        id=np.arange(count), problem=np.zeros(count, int), node=np.zeros(count, int), level=np.zeros(count, int),
        state=np.repeat(bound.root_states(), count, 0), seed=derive_seeds(0, 2, np.arange(count)),
    )  # fmt: skip
    results = ParticleSampler(bound, score, made.num_levels, config, HiddenTwist(), lam)(tickets)
    z_hat = np.exp(lam * results.value)
    assert abs(z_hat.mean() - z) < 4.5 * z_hat.std() / np.sqrt(count)
    assert z_hat.std() / np.sqrt(count) < 0.2 * z


def test_a_text_that_is_full_waits_for_those_that_are_not():
    bound = process("gemma", max_tokens=9, answers="sampled").bind(QUESTIONS)
    roots, problem = np.repeat(bound.root_states()[:1], 24, 0), np.zeros(24, int)
    states, levels = roots.copy(), np.array([3] + [0] * 23)
    states[0, 1:8] = 2  # one token is left to it
    ends, path = texts_of(bound, states, levels, problem)
    assert path.nfe[0] == 1
    assert path.nfe.max() > 3
    others, _ = texts_of(process("gemma", max_tokens=9, answers="sampled").bind(QUESTIONS), roots, levels * 0, problem)
    np.testing.assert_array_equal(ends[1:], others[1:])
