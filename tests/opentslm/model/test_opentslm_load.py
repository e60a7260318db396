"""``load_opentslm``: from the cache, a folder or a file; in two types; and what it says where it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_opentslm import tiny_llama, tiny_tokenizer

from benchmarks.opentslm_parity.cases import Case
from benchmarks.opentslm_parity.compare import load
from benchmarks.opentslm_parity.tiny_base import GEMMA, LLAMA
from benchmarks.opentslm_parity.tiny_checkpoint import KINDS, hub_id
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.model.save import save_soft_prompt
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prompt import Prompt

pytest.importorskip("transformers")


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A checkpoint with its base model beside it, half as wide as the published tiny ones' patches are many."""
    torch.manual_seed(0)
    folder = tmp_path / "stand-in"
    save_soft_prompt(
        folder, SeriesEncoder(32), Projector(64), epoch=7, network=tiny_llama(), tokenizer=tiny_tokenizer()
    )
    return folder


def logits(model: LanguageModel, prompt: Prompt) -> torch.Tensor:
    model.condition(prompt)
    with torch.no_grad():
        return model.network(inputs_embeds=model.embed(prompt)).logits[0, -1].float()


def test_a_folder_and_its_file_load_with_the_base_beside_them(stand_in: Path, prompts: dict[int, Prompt]) -> None:
    models = [load_opentslm(stand_in), load_opentslm(str(stand_in / "model_checkpoint.pt"), offline=True)]
    assert models[0].encoder.max_points == 128  # type: ignore[attr-defined]
    assert models[0].tokenizer.padding_side == "right"
    assert torch.equal(logits(models[0], prompts[3]), logits(models[1], prompts[3]))
    assert not any(parameter.requires_grad for parameter in models[0].network.parameters())


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, prompts: dict[int, Prompt]) -> None:
    first = load_opentslm(
        save_soft_prompt(
            tmp_path / "a", SeriesEncoder(), Projector(64), network=tiny_llama(), tokenizer=tiny_tokenizer()
        )
    )
    parts: dict[str, Any] = {name: getattr(first, name) for name in ("encoder", "projector", "network", "tokenizer")}
    second = load_opentslm(save_soft_prompt(tmp_path / "b", **parts).parent)
    assert torch.equal(logits(first, prompts[1]), logits(second, prompts[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_protocol_is_kept_by_every_kind(kind: str, home: Path) -> None:
    model = load(home, Case(GEMMA, kind, 1))
    assert isinstance(model, LanguageModel)
    assert model.forced == (() if kind == "flamingo" else (model.tokenizer.bos_token_id,))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_float32(kind: str, home: Path, prompts: dict[int, Prompt]) -> None:
    exact = logits(load(home, Case(LLAMA, kind, 1)), prompts[1])
    model = load(home, Case(LLAMA, kind, 1), torch.bfloat16)
    assert model.network.dtype == torch.bfloat16
    assert model.encoder.pos_embed.dtype == torch.float32  # type: ignore[attr-defined]
    assert (logits(model, prompts[1]) - exact).abs().max() < 0.05 * np.ptp(exact.numpy())


def test_a_local_copy_finds_its_published_base_by_its_folders_name(hub_cache: Path, tmp_path: Path) -> None:
    name = hub_id(LLAMA, "sp")
    (original,) = hub_cache.glob(f"models--{name.replace('/', '--')}/snapshots/*/model_checkpoint.pt")
    folder = tmp_path / name.split("/")[1]
    folder.mkdir()
    shutil.copy(original, folder)
    assert load_opentslm(folder, offline=True).network.config.hidden_size == 64
    with pytest.raises(ValueError, match="language model of width 64, which no published one has; give it as base="):
        load_opentslm(shutil.copy(original, tmp_path / "renamed.pt"), offline=True)


def test_a_revision_is_looked_for_and_missed(hub_cache: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert load_opentslm(hub_id(LLAMA, "sp"), revision=commit, offline=True)
    with pytest.raises(FileNotFoundError, match=r"not in the cache.*hf download"):
        load_opentslm(hub_id(LLAMA, "sp"), revision="f" * 40, offline=True)


def test_the_environment_can_forbid_the_network(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_opentslm(hub_id(LLAMA, "sp"))
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE or offline=True"):
        load_opentslm("OpenTSLM/llama-3.2-3b-har-sp")


def test_an_unknown_id_gets_the_list(hub_cache: Path) -> None:
    with pytest.raises(ValueError, match=r"'OpenTSLM/llama-3.2-2b-har-sp' is neither .*gemma-3-1b-pt-ecg-flamingo"):
        load_opentslm("OpenTSLM/llama-3.2-2b-har-sp")


@pytest.mark.parametrize("source", ["./nowhere", "/no/where.pt", "nowhere", Path("a/b")])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(source: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at"):
        load_opentslm(source)


def test_a_folder_without_a_checkpoint_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model_checkpoint.pt"):
        load_opentslm(tmp_path)


def test_a_gated_base_says_how_to_get_access(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("You are trying to access a gated repo.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(PermissionError, match=r"meta-llama/Llama-3.2-1B is gated: accept its licence.*token="):
        load_opentslm(hub_id(LLAMA, "sp"), offline=True)


@pytest.mark.parametrize(
    ("kind", "key"),
    [("sp", "projector.1.weight"), ("sp-lora", "projector.1.weight"), ("flamingo", "0.attn.norm.weight")],
)
def test_a_wrong_base_is_told_by_key(kind: str, key: str, hub_cache: Path, tmp_path: Path) -> None:
    narrow = tiny_llama(hidden=32, layers=3)
    narrow.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"{key} is .* in the file, .* in the model.*base="):
        load_opentslm(hub_id(LLAMA, kind), base=tmp_path, offline=True)


def test_a_base_with_another_vocabulary_is_told_by_key(hub_cache: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["more"])
    tiny_llama(layers=3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"embed_tokens.weight is \[261, 64\] in the file, \[262, 64\] in the model"):
        load_opentslm(hub_id(LLAMA, "flamingo"), base=tmp_path, offline=True)


def test_a_file_of_something_else_is_told_by_its_entries(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "model_checkpoint.pt")
    with pytest.raises(ValueError, match=r"holds state_dict: neither encoder_state"):
        load_opentslm(tmp_path)


def test_a_missing_key_is_named(tmp_path: Path, stand_in: Path) -> None:
    entries = torch.load(stand_in / "model_checkpoint.pt", weights_only=True)
    del entries["encoder_state"]["input_norm.bias"]
    torch.save(entries, stand_in / "model_checkpoint.pt")
    with pytest.raises(ValueError, match=r"encoder_state does not fit: input_norm.bias is missing"):
        load_opentslm(stand_in)


def test_a_revision_of_a_folder_is_refused(stand_in: Path) -> None:
    with pytest.raises(ValueError, match="revision='main' is for ids of the hub only"):
        load_opentslm(stand_in, revision="main")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sp", "flamingo"])
def test_a_compiled_model_says_the_same(kind: str, hub_cache: Path, prompts: dict[int, Prompt]) -> None:
    plain, compiled = (load_opentslm(hub_id(LLAMA, kind), offline=True, compile=on) for on in (False, True))
    torch.testing.assert_close(logits(compiled, prompts[3]), logits(plain, prompts[3]), rtol=0, atol=1e-4)


def test_half_precision_of_another_kind_is_refused(stand_in: Path) -> None:
    with pytest.raises(ValueError, match=r"float16: choose torch.float32 or torch.bfloat16"):
        load_opentslm(stand_in, dtype=torch.float16)
