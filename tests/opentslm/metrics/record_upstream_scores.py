"""Record what OpenTSLM's own scripts print of a few texts: ``upstream_scores.json`` beside this file.

python tests/opentslm/metrics/record_upstream_scores.py CHECKOUT, with a checkout of https://github.com/StanfordBDHG/OpenTSLM.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

HERE = Path(__file__).parent
ECG = {7: ["no", "not sure", "yes"], 9: ["lead I", "lead II", "none", "lead V1"]}
CASES = {
    1: [
        ("(b)", "(b)"),
        ("", "(a)"),
        ("(", "(c)"),
        ("(a) It is flat.", "(a)"),
        ("(c)", "(b)"),
        ("b", "(b)"),
        ("(B)", "(b)"),
        ("(a)", "(a) This time series has a constant trend."),
        ("nonsense", "(b)"),
    ],
    3: [
        ("Slow. Answer: walking", "Slow. Answer: walking"),
        ("Slow. Answer: walking", "Slow. Answer: walking."),
        ('It is "slow". Answer: walking', "Slow. Answer: walking"),
        ("Fast. Answer: Running.", "Fast. Answer: running."),
        ("Fast. Answer:running", "Fast. Answer: running"),
        ("Flat.\nAnswer: sitting<|end_of_text|>", "Flat. Answer: sitting"),
        ("Flat. Answer: swimming", "Flat. Answer: sitting"),
        ("Flat. Answer: lying<eos>", "Flat. Answer: lying"),
        ("", "Flat. Answer: standing"),
        ("Flat. Answer: lying", "Flat. Answer: standing"),
    ],
    4: [
        ("Fast. Answer: Wake", "Fast. Answer: Wake"),
        ("Fast. Answer:Wake", "Fast. Answer: Wake."),
        ("It looks like sleep. Answer:Wake", "Fast. Answer: Wake"),
        ("It is REM and sleep.", "Mixed. Answer: REM sleep"),
        ("Slow. Answer: Non-REM stage 4", "Slow. Answer: Non-REM stage 3."),
        ("Slow. Answer: NREM stage 3.", "Slow. Answer: Non-REM stage 4"),
        ("Slow. Answer: awake", "Slow. Answer: Wake"),
        ("Slow. Answer: Non-REM stage 1<|eot|>", "Slow. Answer: Non-REM stage 2"),
        ("No movement. Answer:Non-REM stage 2", "Slow. Answer: Non-REM stage 2"),
        ("There is no movement here", "Slow. Answer: Wake"),
        ("Slow. Answer: drowsy", "Slow. Answer: Wake"),
        ("", "Slow. Answer: Wake"),
    ],
    5: [
        ("So. Answer: no", "So. Answer: no", 7),
        ("So. Answer: No.", "So. Answer: no", 7),
        ("So. Answer:yes", "So. Answer: yes", 7),
        ("So. Answer: yes", "So. Answer: no", 7),
        ("So. Answer: maybe", "So. Answer: yes", 7),
        ("So. Answer: lead I", "So. Answer: Lead I.", 9),
        ("So. Answer: lead II", "So. Answer: lead I", 9),
        ("none", "So. Answer: none", 9),
        ("So. Answer: none", "So. Answer: none", 9),
        ("So. Answer: somewhere", "So. Answer: none", 9),
    ],
}


def stub_data_sets() -> None:
    """The scripts want the label sets of data sets, not the data."""
    har = ["biking", "lying", "running", "sitting", "standing", "walking", "walking_down", "walking_up"]
    sleep = ["Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep", "Movement"]
    for folder, name, members in (
        ("har_cot", "HARCoTQADataset", {"get_labels": staticmethod(lambda: har)}),
        ("sleep", "SleepEDFCoTQADataset", {"get_labels": staticmethod(lambda: sleep)}),
        ("ecg_qa", "ECGQACoTQADataset", {"get_possible_answers_for_template": staticmethod(ECG.get)}),
    ):
        module = types.ModuleType(f"opentslm.time_series_datasets.{folder}.{name}")
        setattr(module, name, type(name, (), members))
        sys.modules[module.__name__] = module


def script(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def training_accuracy(checkout: Path):
    """``_calculate_accuracy`` of the training script, without what the script imports."""
    tree = ast.parse((checkout / "curriculum_learning.py").read_text())
    found = next(x for x in ast.walk(tree) if isinstance(x, ast.FunctionDef) and x.name == "_calculate_accuracy")
    names: dict = {"List": list}
    exec(compile(ast.Module([found], []), "curriculum_learning.py", "exec"), names)
    return lambda texts, golds: names["_calculate_accuracy"](None, texts, golds)


def tsqa_macro_f1(checkout: Path, cases: list, folder: Path) -> float:
    lines = [json.dumps({"generated": text, "gold": gold}) for text, gold in cases]
    (folder / "evaluation_results_openai-gpt-4o_tsqadataset.json").write_text("\n".join(lines))
    command = [sys.executable, str(checkout / "evaluation/opentslm/tsqa/parse_predictions.py")]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"Macro-F1 Score: ([\d.]+)", printed)[1])


def scores(checkout: Path, stage: int, folder: Path) -> dict[str, float]:
    cases, file = CASES[stage], folder / f"{stage}.jsonl"
    evaluation = checkout / "evaluation" / "opentslm"
    if stage == 1:
        texts, golds = zip(*cases, strict=True)
        accuracy = training_accuracy(checkout)(texts, golds)
        return {"accuracy_upstream": accuracy, "macro_f1_upstream": tsqa_macro_f1(checkout, cases, folder)}
    if stage == 5:
        lines = [{"generated_answer": a, "target_answer": b, "template_id": t, "ecg_id": [1]} for a, b, t in cases]
        file.write_text("\n".join(json.dumps(line) for line in lines))
        module = script(evaluation / "ecg_qa_cot" / "parse_ecg_qa_cot_data.py")
        overall = module.calculate_template_f1_stats(module.extract_structured_data(file))["overall"]
        names = ("accuracy", "macro_f1", "macro_f1_weighted")
        return {f"{name}_upstream": overall[name] for name in names}
    file.write_text("\n".join(json.dumps({"generated": a, "gold": b}, ensure_ascii=False) for a, b in cases) + "\n")
    if stage == 3:
        module = script(evaluation / "parse_predictions.py")
        data = module.extract_structured_data(file.read_text())
        f1 = module.calculate_f1_stats(data, allowed_labels=set(module.SUPPORTED_LABELS))
    else:
        module = script(evaluation / "sleep" / "parse_sleep_cot_data.py")
        module.SUPPORTED_LABELS = module.discover_ground_truth_labels(file)
        data = module.extract_structured_data(file)
        f1 = module.calculate_f1_stats(data)
    accuracy = module.calculate_accuracy_stats(data)["accuracy_percentage"] / 100
    return {"accuracy_upstream": accuracy, "macro_f1_upstream": f1["macro_f1"]}


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    stub_data_sets()
    with tempfile.TemporaryDirectory() as folder:
        recorded = {
            str(stage): {"cases": CASES[stage], "scores": scores(checkout, stage, Path(folder))} for stage in CASES
        }
    answers = {str(template): list(known) for template, known in ECG.items()}
    (HERE / "upstream_scores.json").write_text(json.dumps({"answers": answers, **recorded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
