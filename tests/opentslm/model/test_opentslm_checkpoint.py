"""Reading a checkpoint: nothing of it is run, and nothing is read that is not needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from sadt_ray.opentslm.model.checkpoint import read_checkpoint

HERE = Path(__file__).parent


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model_checkpoint.pt"
    torch.save({"encoder_state": {}, "lora_config": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(ValueError, match=r"refers to (posix|nt)\.mkdir: reading it would run code"):
        read_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


def test_a_config_that_peft_pickled_is_read_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it would fail
    config = read_checkpoint(HERE / "peft_lora_config.pt")["lora_config"]["default"]
    assert (config.state["r"], config.state["lora_alpha"]) == (16, 32)
    assert config.state["target_modules"] == {"q_proj", "v_proj"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells resident memory as Linux does")
def test_the_optimizers_state_is_never_in_memory(tmp_path: Path) -> None:
    path, size = tmp_path / "model_checkpoint.pt", 1 << 24
    torch.save({"encoder_state": {"w": torch.ones(10)}, "optimizer_state": {0: torch.ones(size)}}, path)
    before = resident_bytes()
    entries = read_checkpoint(path)
    assert entries.keys() == {"encoder_state"}
    assert entries["encoder_state"]["w"].sum() == 10
    assert resident_bytes() - before < size  # a quarter of the optimizer's bytes


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped")
def test_tensors_are_mapped_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model_checkpoint.pt"
    torch.save({"model_state": {"w": torch.ones(1000)}}, path)
    mapped = read_checkpoint(path)["model_state"]["w"]
    assert str(path) in Path("/proc/self/maps").read_text()
    assert mapped.sum() == 1000


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model_checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a checkpoint of PyTorch"):
        read_checkpoint(path)


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_checkpoint.pt"
    torch.save({"encoder_state": {"w": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cut short"):
        read_checkpoint(path)
