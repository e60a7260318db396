"""Finding ETTh1, verifying it, and what is said about files that do not fit."""

import hashlib
import urllib.request
from http.client import IncompleteRead

import numpy as np
import pandas as pd
import pytest

from sadt_ray.data import etth1
from sadt_ray.data.etth1 import DataNotFound, WrongChecksum, load_csv, load_etth1
from sadt_ray.interfaces import TimeAxis

ROWS = 1000


def _write(path, rows=ROWS, edit=None, header="date,a,b"):
    lines = [f"2020-01-01 {i:05d},{np.sin(i / 4):.4f},{i % 24}" for i in range(rows)]
    if edit is not None:
        row, text = edit
        lines[row - 2] = text
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine on which ETTh1 is nowhere and no network answers."""
    monkeypatch.setattr(etth1, "_REPOSITORY", tmp_path / "repository")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SADT_DATA", raising=False)
    monkeypatch.setattr(etth1, "ADDRESS", (tmp_path / "nowhere.csv").as_uri())
    return tmp_path


def _pretend_to_be_etth1(path, monkeypatch):
    monkeypatch.setattr(etth1, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_csv_becomes_channels_named_by_its_header(tmp_path):
    dataset = load_csv(_write(tmp_path / "load.csv"), "mine")
    assert (dataset.name, dataset.columns, dataset.values.shape) == ("mine", ("a", "b"), (ROWS, 2))
    np.testing.assert_allclose(dataset.values[:, 1] * dataset.std[1] + dataset.mean[1], np.arange(ROWS) % 24, atol=1e-5)


def test_a_csv_is_named_after_its_file_by_default(tmp_path):
    assert load_csv(_write(tmp_path / "load.csv")).name == "load"


def test_a_byte_order_mark_and_a_missing_last_newline_do_no_harm(tmp_path):
    path = _write(tmp_path / "load.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().rstrip(b"\n"))
    assert load_csv(path).columns == ("a", "b")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ((500, "2020-01-01,,3"), "row 500, column 'a' is missing"),
        ((17, "2020-01-01,1.5,NaN"), "row 17, column 'b' is missing"),
        ((2, "2020-01-01,high,3"), "row 2, column 'a' is 'high', not a finite number"),
        ((1001, "2020-01-01,1,inf"), "row 1001, column 'b' is 'inf'"),
        ((40, "2020-01-01,1"), "row 40 has 2 cells, the header has 3"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(tmp_path, edit, message):
    with pytest.raises(ValueError, match=message):
        load_csv(_write(tmp_path / "load.csv", edit=edit))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("date,a,a", "column 'a' occurs 2 times"),
        ("date,a,", "column 3 has no name"),
        ("date", "at least one channel"),
    ],
)
def test_a_bad_header_is_explained(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        load_csv(_write(tmp_path / "load.csv", header=header))


def test_an_empty_file_and_a_short_one_are_explained(tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(ValueError, match="empty"):
        load_csv(empty)
    with pytest.raises(ValueError, match=r"700 rows are too few.*at least 720 rows"):
        load_csv(_write(tmp_path / "short.csv", rows=700))
    assert load_csv(_write(tmp_path / "enough.csv", rows=720)).windows("test", 1).starts.size


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(DataNotFound, match=r"there is no file .*absent\.csv"):
        load_csv(tmp_path / "absent.csv")


def test_where_etth1_is_nowhere_the_error_lists_the_places_and_three_ways_out(alone, monkeypatch):
    monkeypatch.setenv("SADT_DATA", str(alone / "data"))
    with pytest.raises(DataNotFound) as caught:
        load_etth1()
    message = str(caught.value)
    for place in ("data/ETTh1.csv", "data/etth/ETTh1.csv", "shared/data/ETTh1.csv", "cache/sadt_ray/ETTh1.csv"):
        assert place in message
    for way in ("1. connect", "2. put ETTh1.csv", "3. pass any CSV"):
        assert way in message
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("place", ["data/ETTh1.csv", "data/etth/ETTh1.csv", "cache/sadt_ray/ETTh1.csv"])
def test_etth1_is_found_in_each_place(alone, monkeypatch, place):
    monkeypatch.setenv("SADT_DATA", str(alone / "data"))
    path = alone / place
    path.parent.mkdir(parents=True)
    _pretend_to_be_etth1(_write(path), monkeypatch)
    assert load_etth1(download=False).name == "ETTh1"


def test_etth1_is_found_beside_the_repository_from_any_directory(alone, monkeypatch):
    path = alone / "shared" / "data" / "ETTh1.csv"
    path.parent.mkdir(parents=True)
    _pretend_to_be_etth1(_write(path), monkeypatch)
    elsewhere = alone / "a" / "b"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert load_etth1(download=False).name == "ETTh1"


def test_another_file_under_etth1s_name_is_refused(alone, monkeypatch):
    monkeypatch.setenv("SADT_DATA", str(alone))
    _write(alone / "ETTh1.csv")
    with pytest.raises(WrongChecksum, match=r"ETTh1\.csv is not the ETTh1 of the literature: sha256"):
        load_etth1(download=False)


def test_a_download_is_verified_and_kept_whole_in_the_cache(alone, monkeypatch):
    home = _write(alone / "nowhere.csv")
    _pretend_to_be_etth1(home, monkeypatch)
    assert load_etth1().values.shape == (ROWS, 2)
    cached = alone / "cache" / "sadt_ray"
    assert [path.name for path in cached.iterdir()] == ["ETTh1.csv"]
    home.unlink()
    assert load_etth1().values.shape == (ROWS, 2)


def test_a_damaged_download_is_as_good_as_none_and_leaves_nothing_behind(alone):
    _write(alone / "nowhere.csv")
    with pytest.raises(DataNotFound, match=r"nowhere\.csv \(the download is not ETTh1: \d+ bytes, sha256"):
        load_etth1()
    assert not (alone / "cache").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (IncompleteRead(b"half"), "IncompleteRead"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_a_download_that_fails_in_any_way_is_in_the_message(alone, monkeypatch, error, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(DataNotFound, match=rf"nowhere\.csv \(.*{said}"):
        load_etth1()


def test_a_download_is_used_even_where_the_cache_cannot_be_written(alone, monkeypatch):
    _pretend_to_be_etth1(_write(alone / "nowhere.csv"), monkeypatch)
    (alone / "cache").write_text("a file where the directory should be")
    dataset = load_etth1()
    assert (dataset.name, dataset.values.shape) == ("ETTh1", (ROWS, 2))


def test_the_real_etth1_has_17420_rows_and_7_channels():
    try:
        dataset = load_etth1(download=False)
    except DataNotFound as error:
        pytest.skip(f"ETTh1 is not on this machine: {error}")
    assert dataset.values.shape == (17_420, 7)
    assert dataset.columns == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert len(dataset.window_starts("test", 48)) == 59


def test_problems_of_a_csv_know_their_dates_if_those_parse_and_are_regular(tmp_path):
    dates = pd.date_range("2020-01-01", periods=ROWS, freq="30min").strftime("%Y-%m-%d %H:%M:%S").tolist()

    def series(column):
        lines = [f"{date},{i % 24}" for i, date in enumerate(column)]
        (tmp_path / "load.csv").write_text("\n".join(["date,a", *lines]) + "\n")
        return load_csv(tmp_path / "load.csv")

    assert series(dates).time == TimeAxis("2020-01-01T00:00", "30min")
    problem = series(dates).latest_problem("a")
    assert pd.Timestamp(problem.time.start) == pd.Timestamp("2020-01-01") + ROWS * pd.Timedelta("30min")
    assert series([*dates[:10], *dates[11:], "2030-01-01 00:00:00"]).time is None  # a gap
    assert series(range(ROWS)).latest_problem("a").time is None
    assert load_csv(_write(tmp_path / "other.csv")).time is None


def test_the_real_etth1_begins_on_the_first_of_july_2016():
    try:
        dataset = load_etth1(download=False)
    except DataNotFound as error:
        pytest.skip(f"ETTh1 is not on this machine: {error}")
    assert dataset.time == TimeAxis("2016-07-01T00:00", "h")
    assert dataset.latest_problem("OT").time.start == "2018-06-26T20:00"
