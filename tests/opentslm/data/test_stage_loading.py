"""Stages from files in upstream's formats: archives, a table of one's own, records; what is said of bad ones."""

import csv
import json
import sys
import zipfile

import numpy as np
import pytest

from sadt_ray.data import etth1
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.opentslm.data import ecg, har, load_stage, m4, ptbxl, sleep
from sadt_ray.opentslm.data.tables import numbers, read_table
from sadt_ray.opentslm.stage_spec import LEADS

QUESTION = "Which?\n(a) None.\n(b) One.\n(c) Two."


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine on which no data are and no network answers."""
    monkeypatch.setattr(etth1, "_REPOSITORY", tmp_path / "repository")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SADT_DATA", raising=False)
    for module, name in ((m4, "ADDRESS"), (har, "ADDRESS"), (sleep, "ADDRESS"), (ecg, "ADDRESS"), (ecg, "ANSWERS")):
        monkeypatch.setattr(module, name, (tmp_path / "nowhere").as_uri())
    monkeypatch.setattr(ptbxl, "ADDRESS", (tmp_path / "physionet").as_uri())
    for cached in (ecg._answers_by_template, ptbxl._collection, ptbxl.load_record):
        cached.cache_clear()
    yield tmp_path
    for cached in (ecg._answers_by_template, ptbxl._collection, ptbxl.load_record):
        cached.cache_clear()


def _table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _series(seed, n=8):
    return np.random.default_rng(seed).normal(size=n).round(3).tolist()


def _tsqa_rows(n):
    return [{"Task": "Trend", "Question": QUESTION, "Answer": "(b)", "Series": str(_series(i))} for i in range(n)]


def _har_rows(n, start=0):
    labels = ("walking", "sitting")
    return [
        {**{f"{axis}_axis": str(_series([i, k])) for k, axis in enumerate("xyz")}, "label": labels[i % 2]}
        for i in range(start, start + n)
    ]


def _zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, rows in files.items():
            archive.write(_table(path.parent / "files" / name, rows), f"somewhere/inside/{name}")
    return path.as_uri()


def _record(folder, ecg_id, adc):
    """A WFDB record as PTB-XL has them."""
    name = f"{ecg_id:05d}_hr"
    folder.mkdir(parents=True, exist_ok=True)
    np.asarray(adc, "<i2").T.tofile(folder / f"{name}.dat")
    lines = [f"{name} 12 500 {len(adc[0])}"] + [f"{name}.dat 16 1000.0(0)/mV 16 0 1 2 0 {lead}" for lead in LEADS]
    (folder / f"{name}.hea").write_text("\n".join([*lines, "# a comment", ""]))


def test_stages_that_are_nowhere_say_where_they_were_looked_for_and_the_ways_out(alone):
    for stage in (2, 3, 4, 5):
        with pytest.raises(DataNotFound) as error:
            load_stage(stage)
        assert (alone / "nowhere").as_uri() in str(error.value)
        assert "SADT_DATA" in str(error.value)
        assert "a file of your own" in str(error.value)


def test_tsqa_is_asked_of_the_hub_and_its_refusal_is_passed_on(alone, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_, **__):
        raise ConnectionError("the hub is out of reach\nand more")

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    with pytest.raises(DataNotFound, match=r"ChengsenWang/TSQA[\s\S]*\(the hub is out of reach\)[\s\S]*SADT_DATA"):
        load_stage(1)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        load_stage(1)


def test_tsqa_from_the_hub_is_split_as_upstream_splits(alone, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    path = _table(alone / "hub" / "TSQA.csv", _tsqa_rows(30))
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, **__: str(path))
    sizes = {part: len(load_stage("tsqa", part)) for part in ("train", "validation", "test")}
    assert sizes == {"train": 24, "validation": 3, "test": 3}
    problem = load_stage("tsqa", "test")[0]
    assert problem.conditioning.pre == QUESTION
    assert problem.extras["label"] == "(b)"


def test_an_archive_is_fetched_once_and_only_its_known_files_are_taken(alone, monkeypatch):
    files = {f"har_cot_{part}_cot.csv": _har_rows(n) for part, n in (("train", 4), ("val", 2), ("test", 3))}
    address = _zipped(alone / "har.zip", {**files, "evil.py": _har_rows(1)})
    monkeypatch.setattr(har, "ADDRESS", address)
    assert [len(load_stage(3, part)) for part in ("train", "validation", "test", "all")] == [4, 2, 3, 9]
    kept = alone / "cache" / "sadt_ray" / "har_cot"
    assert sorted(path.name for path in kept.iterdir()) == sorted(files)
    (alone / "har.zip").unlink()
    assert load_stage(3, "test")[2].name == "har/test/00002"
    assert list((alone / "cache" / "sadt_ray").iterdir()) == [kept]  # no half downloads are left


def test_an_archive_without_the_files_is_refused(alone, monkeypatch):
    monkeypatch.setattr(har, "ADDRESS", _zipped(alone / "har.zip", {"har_cot_train_cot.csv": _har_rows(1)}))
    with pytest.raises(DataNotFound, match=r"does not hold har_cot_val_cot.csv"):
        load_stage(3)
    (alone / "not.zip").write_text("an error page")
    monkeypatch.setattr(har, "ADDRESS", (alone / "not.zip").as_uri())
    with pytest.raises(DataNotFound, match="not a zip file"):
        load_stage(3)


def test_rows_that_repeat_the_header_are_left_out(alone):
    rows = _har_rows(3)
    path = _table(alone / "har.csv", [rows[0], {key: key for key in rows[0]}, *rows[1:]])
    assert len(load_stage(3, "all", path)) == 3


def test_windows_of_several_units_are_read_by_window(alone):
    units = [{**row, "unit": unit} for row, unit in zip(_har_rows(2), ("g", "counts"), strict=True)]
    mixed = load_stage(3, "all", _table(alone / "mixed.csv", units))
    assert all("mean 0.0000" in text for text in mixed[0].conditioning.texts)
    alike = load_stage(3, "all", _table(alone / "alike.csv", _har_rows(2)))
    assert not all("mean 0.0000" in text for text in alike[0].conditioning.texts)


def test_m4_has_captions_where_there_are_any(alone):
    series = [{"id": f"M{i}", "series": str(_series(i))} for i in range(3)]
    path = _table(alone / "m4_series_Weekly.csv", series)
    assert [problem.extras["answer"] for problem in load_stage(2, "all", path)] == [None] * 3
    _table(alone / "m4_captions_Weekly.csv", [{"id": "M2", "caption": "It rises."}, {"id": "M9", "caption": "?"}])
    captioned = load_stage(2, "all", alone)
    assert [(problem.extras["source"], problem.extras["answer"]) for problem in captioned] == [("M2", "It rises.")]
    assert captioned[0].extras["frequency"] == "Weekly"


def test_an_epoch_may_be_a_list_in_a_list_and_its_rate_follows_from_its_length(alone):
    rows = [{"time_series": f"[{_series(i, 60)}]", "label": "Wake", "rationale": "Answer: Wake"} for i in range(2)]
    problem = load_stage(4, "all", _table(alone / "sleep.csv", rows))[1]
    assert problem.context.shape == (60,)
    assert problem.extras["sampling_rate"] == 2.0


def test_the_sources_of_one_night_are_half_hours_and_of_several_the_nights(alone):
    rows = [{"time_series": str(_series(i, 30)), "label": "Wake", "record": "A", "epoch": 50 + i} for i in range(20)]
    night = load_stage(4, "all", _table(alone / "one.csv", rows))
    assert set(night.sources) == {"A/half hour 0", "A/half hour 1"}
    rows[-1]["record"] = "B"
    assert set(load_stage(4, "all", _table(alone / "two.csv", rows)).sources) == {"A", "B"}


def test_an_ecg_question_fetches_its_record_and_the_answers_of_its_template(alone, monkeypatch):
    adc = np.random.default_rng(0).integers(-900, 900, (12, 5000))
    _record(alone / "physionet" / "records500" / "01000", 1234, adc)
    answers = _table(alone / "answers.csv", [{"template_id": 7, "classes": "['no', 'yes']"}])
    monkeypatch.setattr(ecg, "ANSWERS", answers.as_uri())
    row = {"question": "Noise?", "answer": "yes", "template_id": 7, "question_type": "single-verify"}
    row |= {"clinical_context": "", "ecg_id": "[1234]", "rationale": "So. Answer: yes"}
    problem = load_stage(5, "all", _table(alone / "ecg.csv", [row]))[0]
    np.testing.assert_allclose(problem.context, adc.T[::5] / 1000)
    assert problem.conditioning.answers == ("no", "yes")
    assert "Clinical Context: 12-lead ECG recording." in problem.conditioning.pre
    assert problem.extras["source"] == "ptbxl 1234"
    (alone / "physionet" / "records500" / "01000" / "01234_hr.dat").unlink()
    ptbxl.load_record.cache_clear()
    np.testing.assert_allclose(ptbxl.load_record(1234)[:, ::5].T, problem.context)  # kept in the cache


def test_an_empty_label_is_no_label(alone):
    har_file = _table(
        alone / "har.csv", [{**row, "label": label} for row, label in zip(_har_rows(2), (" ", "sitting"), strict=True)]
    )
    assert [problem.extras["label"] for problem in load_stage(3, "all", har_file)] == [None, "sitting"]
    tsqa_file = _table(alone / "tsqa.csv", [{**row, "Answer": ""} for row in _tsqa_rows(1)])
    assert load_stage(1, "all", tsqa_file)[0].extras["label"] is None


def test_cells_of_an_ecg_table_are_lists_and_numbers_or_refused_by_their_column(alone):
    row = {"question": "Noise?", "answer": "yes", "ecg_id": "[7]", "possible_answers": "['no', 'yes']"}
    leads = np.random.default_rng(0).normal(size=(12, 100))
    prepared = ecg.prepare({**row, "leads": leads})
    assert prepared["possible_answers"] == ["no", "yes"]
    assert ecg.read(_table(alone / "ecg.csv", [row]))["all"][0]["ecg_id"] == 7
    with pytest.raises(ValueError, match="column 'ecg_id': 'record 7'"):
        ecg.read(_table(alone / "bad.csv", [{**row, "ecg_id": "record 7"}]))


def test_a_record_that_is_cut_short_is_refused(alone):
    _record(alone, 5, np.zeros((12, 100)))
    (alone / "00005_hr.dat").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"12 leads of 100 samples announced, the .dat file holds 50"):
        ptbxl.read_wfdb(alone / "00005_hr.hea")


def test_questions_on_two_records_or_with_two_answers_are_left_out(alone):
    row = {"question": "?", "template_id": 7, "question_type": "x", "answer": ["no"], "ecg_id": [1]}
    rows = [row, {**row, "ecg_id": [1, 2]}, {**row, "answer": ["no", "yes"]}]
    (alone / "rows.json").write_text(json.dumps(rows))
    assert load_stage(5, "all", alone / "rows.json").sources == ["ptbxl 1"]


def test_a_file_of_one_source_is_a_test_unless_a_split_is_asked_for(alone):
    path = _table(alone / "one.csv", [{**row, "source": "me"} for row in _har_rows(4)])
    assert [len(load_stage(3, part, path)) for part in ("train", "validation", "test", "all")] == [0, 0, 4, 4]
    with pytest.raises(ValueError, match="ask for all of them"):
        load_stage(3, "test", path, split="source")


def test_problems_are_made_when_they_are_asked_for(alone):
    rows = [*_tsqa_rows(2), {**_tsqa_rows(1)[0], "Series": "[1, two]"}]
    stage_set = load_stage(1, "all", _table(alone / "own.csv", rows))
    assert len(stage_set) == 3
    assert [problem.name for problem in stage_set[:2]] == ["tsqa/own/00000", "tsqa/own/00001"]
    with pytest.raises(ValueError, match=r"tsqa/own/00002: column 'Series': '\[1, two\]' is not a list of numbers"):
        stage_set[2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "none of .csv"),
        ("a.json", "{", "cannot be read as json"),
        ("a.parquet", "x", "cannot be read as parquet"),
        ("a.csv", "x,y\n", "has no rows"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(alone, name, content, message):
    (alone / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_table(alone / name)


def test_a_file_or_part_that_is_not_there_is_an_error(alone):
    with pytest.raises(DataNotFound, match="there is no file"):
        load_stage(1, "all", alone / "gone.csv")
    with pytest.raises(ValueError, match="there is no part 'val'; choose one of train"):
        load_stage(1, "val", alone / "gone.csv")
    with pytest.raises(ValueError, match=r"holds none of har_cot_train_cot.csv"):
        load_stage(3, "all", alone)
    _table(alone / "har_cot_test_cot.csv", _har_rows(2))
    with pytest.raises(ValueError, match="has no part 'train'; it has test"):
        load_stage(3, "train", alone)


@pytest.mark.parametrize("cell", ["5", "hello", "[1, [2]]", "{'a': 1}", None])
def test_a_cell_that_is_no_list_of_numbers_is_refused(cell):
    with pytest.raises(ValueError, match="list of numbers"):
        numbers(cell)


def test_a_cell_may_be_written_by_python_or_json_or_be_a_list():
    for cell in ("[1, 2.5]", "(1, 2.5)", [1, 2.5]):
        np.testing.assert_array_equal(numbers(cell), [1, 2.5])
