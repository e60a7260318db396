"""Upstream's OpenTSLM on the tiny checkpoints: ``OPENTSLM_PYTHON -m benchmarks.opentslm_parity.run_upstream OUT.npz``.

For an environment of its own, where this package need not be installed; from the root of the repository:

    python3.11 -m venv /tmp/upstream && /tmp/upstream/bin/pip install torch 'transformers==4.57.*' numpy einops \\
        accelerate pandas safetensors jaxtyping && /tmp/upstream/bin/pip install --no-deps --ignore-requires-python \\
        opentslm==0.1.0 peft open-flamingo==2.0.1 einops-exts
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

HOME = Path(tempfile.mkdtemp(prefix="opentslm-parity-"))
os.environ |= {"HF_HOME": str(HOME), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.modules["open_clip"] = ModuleType("open_clip")  # open-flamingo imports it and OpenTSLM does not use it

import torch  # noqa: E402
import transformers  # noqa: E402

from benchmarks.opentslm_parity.cases import (  # noqa: E402
    NEVER_CHOSEN,
    TOKENS,
    Case,
    Decoded,
    cases,
    question,
    save_record,
    write_hub,
)


def main(out: Path) -> None:
    write_hub(HOME)
    results: dict[str, Decoded] = {}
    models: dict[str, Any] = {}
    for case in cases():
        with contextlib.redirect_stdout(sys.stderr):
            key = f"{case.hub_id} {case.whole}"
            model = models.get(key) or _load(case)
            models = {key: model}
            if case.kind != "flamingo" and case.whole:
                model.tokenizer.padding_side = "right"
            results[case.name] = _decode(model, case)
    packages = ("opentslm", "open-flamingo", "peft", "transformers", "torch")
    save_record(out, results, ", ".join(f"{name} {version(name)}" for name in packages))
    print(f"{len(results)} decodes in {out}")


def _load(case: Case) -> Any:
    """Upstream's model by upstream's loader, its language model in float32."""
    from opentslm.model.llm.OpenTSLM import OpenTSLM

    model = OpenTSLM.load_pretrained(case.hub_id, device="cpu", enable_lora=case.kind == "sp-lora")
    _same_keys(model, case)
    model.llm.float()
    return model.eval()


def _same_keys(model: Any, case: Case) -> None:
    """The tiny checkpoint has the names that upstream would save."""
    from huggingface_hub import hf_hub_download

    entries = torch.load(hf_hub_download(case.hub_id, "model_checkpoint.pt"), weights_only=False)
    if case.kind == "flamingo":
        pairs = [(entries["model_state"], model.state_dict())]
    else:
        pairs = [(entries["encoder_state"], model.encoder.state_dict())]
        pairs += [(entries["projector_state"], model.projector.state_dict())]
    if case.kind == "sp-lora":
        saved: dict[str, Any] = {}
        model.save_lora_state_to_checkpoint(saved)
        pairs += [(entries["lora_state"], saved["lora_state"])]
    for ours, theirs in pairs:
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}, case.name


def _decode(model: Any, case: Case) -> Decoded:
    from opentslm.time_series_datasets.util import extend_time_series_to_match_patch_size_and_aggregate as aggregate

    asked = question(case.count)
    batch = aggregate(
        [
            {
                "pre_prompt": asked.pre, "post_prompt": asked.post,
                "time_series_text": list(asked.texts), "time_series": [list(one) for one in asked.series],
            }
        ]
    )  # fmt: skip
    options: dict[str, Any] = {
        "max_new_tokens": TOKENS,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    with torch.no_grad():
        if case.kind == "flamingo":
            tokens, series, mask, _ = model.pad_and_apply_batch(batch, include_labels=True)
            options |= {"suppress_tokens": NEVER_CHOSEN[case.family], **_ends(model)}
            found = model.llm.generate(vision_x=series, lang_x=tokens, attention_mask=mask, **options)
        else:
            embeds, mask = model.pad_and_apply_batch(batch)
            first = transformers.LogitsProcessorList([_BosFirst(model.tokenizer.bos_token_id)])
            found = model.llm.generate(inputs_embeds=embeds, attention_mask=mask, logits_processor=first, **options)
    return Decoded.of(torch.cat(found.logits).float().numpy())


class _BosFirst(transformers.LogitsProcessor):
    """The first token of an answer is BOS: answers were trained with it."""

    def __init__(self, bos: int) -> None:
        self.bos: int | None = bos

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self.bos is not None:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, self.bos] = 0
        self.bos = None
        return scores


def _ends(model: Any) -> dict[str, int]:
    return {"eos_token_id": model.text_tokenizer.eos_token_id, "pad_token_id": model.text_tokenizer.pad_token_id}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
