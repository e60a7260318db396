"""Record what OpenTSLM's own data sets make of a few rows: ``upstream_prompts.json`` beside this file.

python tests/opentslm/data/record_upstream_prompts.py CHECKOUT, with a checkout of
https://github.com/StanfordBDHG/OpenTSLM. Its data sets are run as they are; only the package's ``__init__``, which
wants the models' dependencies, is passed over.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PACKAGES = ("", ".prompt", ".time_series_datasets", *(f".time_series_datasets.{x}" for x in ("m4", "har_cot", "sleep")))
PACKAGES += (".time_series_datasets.ecg_qa",)
CLASSES = {
    1: "TSQADataset.TSQADataset",
    2: "m4.M4QADataset.M4QADataset",
    3: "har_cot.HARCoTQADataset.HARCoTQADataset",
    4: "sleep.SleepEDFCoTQADataset.SleepEDFCoTQADataset",
    5: "ecg_qa.ECGQACoTQADataset.ECGQACoTQADataset",
}
ANSWERS = {1: ["no", "not sure", "yes"], 7: ["lead I", "none"]}


def data_set(checkout: Path, stage: int):
    """An instance that has loaded nothing."""
    for package in PACKAGES:
        module = types.ModuleType(f"opentslm{package}")
        module.__path__ = [str(checkout / "src" / f"opentslm{package}".replace(".", "/"))]
        sys.modules.setdefault(module.__name__, module)
    module, name = CLASSES[stage].rsplit(".", 1)
    made = object.__new__(getattr(__import__(f"opentslm.time_series_datasets.{module}", fromlist=[name]), name))
    made.EOS_TOKEN = ""
    return made


def rows(stage: int) -> list[dict]:
    """Rows as upstream's files have them: ordinary ones, large offsets, constant series, braces in a question."""
    rng = np.random.default_rng(stage)

    def walk(n: int, scale: float = 1.0, offset: float = 0.0) -> list[float]:
        return np.round(offset + scale * np.cumsum(rng.normal(size=n)), 4).tolist()

    if stage == 1:
        question = "Select one.\n(a) It has {no} trend.\n(b) Upward.\n(c) Downward.\nOnly answer (a), (b), or (c).\n"
        series = [walk(64), walk(37, 50, 4000), [1.5] * 8]
        return [{"Task": "Trend", "Question": question, "Answer": "(b)", "Series": json.dumps(x)} for x in series]
    if stage == 2:
        series = [walk(64, 30, 6000), walk(70, 0.01, -3), [2.25] * 6]
        return [{"id": f"M{i}", "series": x, "caption": "A caption."} for i, x in enumerate(series)]
    if stage == 3:
        axes = [[walk(32), walk(32, 0.01), walk(32, 3, 9.81)], [walk(32, 20, 2000), [0.5] * 32, walk(32)]]
        return [
            {
                **{f"{a}_axis": x for a, x in zip("xyz", three, strict=True)},
                "label": "walking",
                "rationale": "It walks.",
            }
            for three in axes
        ]
    if stage == 4:
        series = [walk(90, 5), walk(30, 100, 40), [3.0] * 30]
        return [{"time_series": x, "label": "Non-REM stage 4", "rationale": "Deep. Answer: x"} for x in series]
    records = [[walk(40, 0.05) for _ in range(12)], [walk(40, 0.05, 0.1) for _ in range(11)] + [[0.0] * 39 + [1e-6]]]
    return [
        {
            "question": "Is there {any} noise?",
            "answer": ANSWERS[template][0],
            "template_id": template,
            "question_type": "single-verify",
            "clinical_contexts": ["60-year-old female patient."],
            "ecg_id": [number],
            "ecg_paths": [f"{number}.dat"],
            "rationale": f"Quiet. Answer: {ANSWERS[template][0]}",
            "leads": record,
        }
        for number, (template, record) in enumerate(zip(ANSWERS, records, strict=True))
    ]


def recorded(checkout: Path, stage: int) -> list[dict]:
    upstream, made = data_set(checkout, stage), []
    for row in rows(stage):
        if stage == 5:
            type(upstream)._template_answers_cache = ANSWERS
            upstream._ecg_data_cache[row["ecg_paths"][0]] = (np.array(row["leads"]).T, "100Hz", "100Hz")
        sample = upstream._format_sample(row)
        kept = {key: sample[key] for key in ("pre_prompt", "time_series_text", "post_prompt", "answer")}
        series = [np.asarray(x, np.float32).tolist() for x in sample["time_series"]]
        made.append({"row": row, "sample": {**kept, "time_series": series}})
    return made


def main() -> None:
    checkout = Path(sys.argv[1])
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    stages = {str(stage): recorded(checkout, stage) for stage in CLASSES}
    written = {"recorded_from": "https://github.com/StanfordBDHG/OpenTSLM (MIT)", "commit": commit.strip(), **stages}
    (HERE / "upstream_prompts.json").write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
