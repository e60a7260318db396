"""Find checkpoints and base models on the hub, in its cache or in folders, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sadt_ray.opentslm.model.checkpoint import refuse_misfit
from sadt_ray.opentslm.model.names import hub_ids, published
from sadt_ray.opentslm.model.save import BASE, CHECKPOINT

_T = TypeVar("_T")


@dataclass(frozen=True)
class Access:
    """Access to the hub: a token, and whether to stay offline; None for the defaults of ``huggingface_hub``."""

    token: str | None = None
    offline: bool | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for functions of ``huggingface_hub`` and ``transformers``."""
        return {"token": self.token} | ({"local_files_only": True} if self.is_offline else {})

    @property
    def is_offline(self) -> bool:
        from huggingface_hub import constants

        return constants.HF_HUB_OFFLINE if self.offline is None else self.offline


def find_checkpoint(source: str | Path, revision: str | None, access: Access, any_name: bool = False) -> Path:
    """The file of a checkpoint.

    Args:
        source: a hub id, a folder or a file.
        revision: branch, tag or commit of a hub id.
        access: access to the hub.
        any_name: whether hub ids other than upstream's are allowed.

    Raises FileNotFoundError, PermissionError or ValueError, as ``load_opentslm`` describes.
    """
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise ValueError(
                f"{path} is on this machine; revision={revision!r} is for ids of the hub only: leave it out"
            )
        found = path / CHECKPOINT if path.is_dir() else path
        if not found.is_file():
            raise FileNotFoundError(f"the folder {path} holds no {CHECKPOINT}; give a folder that does, or the file")
        return found
    name = str(source)
    if isinstance(source, Path) or name.endswith(".pt") or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise FileNotFoundError(f"there is no checkpoint at {path}. {_choices()}")
    if published(name) is None and not any_name:
        raise ValueError(
            f"{name!r} is neither a file nor a published checkpoint. {_choices()} For a repository of your own, name "
            f"its base model with base="
        )
    return _ask(lambda: Path(_download(name, revision, access)), name, access)


def base_of(source: str | Path) -> str | None:
    """The base model of a published id, or of a folder with such a name; None for other names."""
    found = published(str(source)) or published(Path(source).name)
    return found.base if found else None


def base_beside(path: Path) -> Path | None:
    """The folder ``base/`` beside a checkpoint, if there is one."""
    beside = path.parent / BASE
    return beside if (beside / "config.json").is_file() else None


def load_tokenizer(base: str | Path, access: Access) -> Any:
    from transformers import AutoTokenizer

    return _ask(lambda: AutoTokenizer.from_pretrained(_where(base), **access.options), str(base), access)


def load_config(base: str | Path, access: Access) -> Any:
    from transformers import AutoConfig

    return _ask(lambda: AutoConfig.from_pretrained(_where(base), **access.options), str(base), access)


def load_network(base: str | Path, access: Access, dtype: torch.dtype | str) -> Any:
    """A base model with its weights, in a given type or in that of its files (``"auto"``)."""
    from transformers import AutoModelForCausalLM

    with _quietly():
        return _ask(
            lambda: AutoModelForCausalLM.from_pretrained(_where(base), dtype=dtype, **access.options), str(base), access
        )


def fill_network(config: Any, state: Mapping[str, Tensor], dtype: torch.dtype, hint: str) -> Any:
    """A network with the given weights. They are used in place if they have the right type already.

    Raises ValueError naming keys that are missing, left over or of another size.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    state = dict(state)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state.get("model.embed_tokens.weight", torch.empty(0))
    refuse_misfit(empty, state, "lang_encoder", hint)
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    with _quietly():
        return type(empty).from_pretrained(None, config=config, state_dict=state, dtype=dtype)


def _download(name: str, revision: str | None, access: Access) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(name, CHECKPOINT, revision=revision, **access.options)


def _ask(question: Callable[[], _T], name: str, access: Access) -> _T:
    """Call a function that asks the hub; turns its errors into errors that say what to do."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        return question()
    except (OSError, HfHubHTTPError) as error:
        chain = list(_causes(error))
        if any(isinstance(cause, GatedRepoError) or "gated repo" in str(cause) for cause in chain):
            raise PermissionError(
                f"{name} is gated: accept its licence at https://huggingface.co/{name}, then log in with `hf auth "
                f"login`, set HF_TOKEN, or give token=; or give a folder with the base model as base="
            ) from error
        if access.is_offline:
            raise FileNotFoundError(
                f"{name} is not in the cache, and the hub is not used (HF_HUB_OFFLINE or offline=True); download it "
                f"once while online with `hf download {name}`, or give a folder"
            ) from error
        raise FileNotFoundError(f"{name} could not be downloaded from the hub: {error}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(base: str | Path) -> str:
    return os.path.expanduser(str(base))


def _choices() -> str:
    return f"Published: {', '.join(hub_ids())}."


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the progress bar of the weights."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
