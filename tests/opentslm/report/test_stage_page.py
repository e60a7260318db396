"""The page of a stage run: it says what the files say, trusts no text in them, and names what is missing."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import zlib
from html import unescape as html_text
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_stage import LABELS, METHODS, grown_search, made_up_problems, text_of, write_stage_run
from matplotlib.image import imread
from pages import BROWSER, FLAGS, Page

from jobs import report
from sadt_ray.opentslm.answers import answered
from sadt_ray.opentslm.report import examples as stage_examples
from sadt_ray.opentslm.report.data import StageRun, read_stage_run
from sadt_ray.opentslm.report.examples import examples, pack_series, thinned
from sadt_ray.opentslm.report.page import render_stage_page, write_stage_report
from sadt_ray.opentslm.report.text_trees import TextTree, added_texts
from sadt_ray.opentslm.report.words import against, headline, stage_table
from sadt_ray.opentslm.tree_texts import node_answers
from sadt_ray.report.throughput import throughput_chart
from sadt_ray.runs.files import NodeTable


@pytest.fixture(scope="module")
def stage_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stage_run(tmp_path_factory.mktemp("stage") / "har")


@pytest.fixture(scope="module")
def run(stage_dir: Path) -> StageRun:
    return read_stage_run(stage_dir)


@pytest.fixture(scope="module")
def html(stage_dir: Path) -> str:
    return write_stage_report(stage_dir).read_text(encoding="utf-8")


@pytest.fixture
def fresh_stage(stage_dir: Path, tmp_path: Path) -> Path:
    """A run directory that the test may damage."""
    return Path(shutil.copytree(stage_dir, tmp_path / stage_dir.name))


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def embedded(html: str) -> dict:
    match = re.search(r'<script type="application/octet-stream" id="answers-data">(.*?)</script>', html)
    assert match is not None
    return json.loads(zlib.decompress(base64.b64decode(match.group(1))))


def test_the_page_is_well_formed_and_refers_to_nothing_outside(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(reference.startswith("#") and reference[1:] in page.ids for reference in page.references)
    alone = html.replace("http://www.w3.org/2000/svg", "").replace("url(#", "")
    assert not any(word in alone for word in ("http://", "https://", "@import", "url("))


def test_no_text_of_the_run_becomes_markup(html: str) -> None:
    assert "window.evil" not in html
    assert "<b>run" not in html
    assert "Made &lt;up&gt;." in html
    assert "--stage 3 &lt;x&gt;" in html
    assert embedded(html)["questions"][0]["answers"] == list(LABELS)


def test_the_headline_compares_the_best_with_the_votes_at_the_same_tokens(html: str) -> None:
    assert "".join(Page(html).text["h1"]) == (
        "Stage 3 (har), stand-in model: DTS is right on 83.3\u00a0% of 12 questions with 4 rationales, "
        "16.7 points above answer-vote and 25.0 points above self-consistency at the same tokens."
    )


def test_the_doubt_about_a_difference_and_the_templates_accuracy_are_said(run: StageRun) -> None:
    _, detail = headline(run)
    gain = against(run, "dts", "answer-vote")
    assert gain is not None
    assert f"+16.7 ± {100 * gain.standard_error:.1f} points against answer-vote (not clearly different)" in detail
    assert "template classifier inside the spectral reward is right on 53.0\u00a0%" in detail


def test_another_cost_is_said_and_a_vote_that_wins_is_called_the_winner(fresh_stage: Path) -> None:
    rows = json.loads((fresh_stage / "summary.json").read_text())["rows"]
    for row in rows:
        row["accuracy"] = {"answer-vote": 0.75, "dts": 0.75}.get(row["method"], 0.5)
        row["tokens"] *= 1.5 if row["method"] == "dts" else 1.0
    change_json(fresh_stage / "summary.json", rows=rows)
    assert headline(read_stage_run(fresh_stage))[0].endswith(
        "answer-vote is right on 75.0\u00a0% of 12 questions with 4 rationales, "
        "25.0 points above self-consistency at the same tokens and equal to DTS at 1.5 times the tokens."
    )


def test_an_oracle_is_labelled_wherever_it_appears_and_never_the_best(tmp_path: Path) -> None:
    directory = write_stage_run(tmp_path / "oracle", simulations=20, oracles=("dts",))
    page = write_stage_report(directory).read_text(encoding="utf-8")
    before_throughput = page[: page.index("<h2>Throughput")]
    named = re.findall(r">([^<>{}]*\bDTS\b[^<>]*)<", before_throughput[before_throughput.index("<body>") :])
    assert len(named) >= 5  # warning, ceiling, table, two figures
    assert all("DTS (oracle)" in text for text in named)
    assert [m["name"] for m in embedded(page)["methods"]][-1] == "DTS (oracle)"
    found, detail = headline(read_stage_run(directory))
    assert "answer-vote is right on 66.7\u00a0%" in found
    assert "DTS" not in found
    assert "Ceiling, which reads the gold answer: DTS (oracle) 0.833." in detail
    for accuracy in (0.95, None):  # above the best of the others; then level with it
        rows = json.loads((directory / "summary.json").read_text())["rows"]
        rows[-1]["accuracy"] = accuracy or rows[-2]["accuracy"]
        change_json(directory / "summary.json", rows=rows)
        table = stage_table(read_stage_run(directory))
        assert '<td class="best">0.667 ± 0.050</td>' in table
        assert "best" not in table[table.index('<tr class="oracle">') :]


def test_a_run_of_oracles_alone_is_called_a_ceiling(fresh_stage: Path) -> None:
    rows = json.loads((fresh_stage / "summary.json").read_text())["rows"]
    change_json(fresh_stage / "summary.json", rows=[row | {"oracle": None} for row in rows])
    change_json(fresh_stage / "config.json", oracle=True)
    assert headline(read_stage_run(fresh_stage))[0].endswith("this is a ceiling, not a result.")


def test_a_stand_in_and_an_unfinished_run_are_said_before_any_number(fresh_stage: Path, html: str) -> None:
    change_json(fresh_stage / "summary.json", complete=False)
    page = render_stage_page(read_stage_run(fresh_stage), {})
    before = page[: page.index("<h1>")]
    assert "stand-in" in before
    assert "did not come to its end" in before
    assert html.count("Stand-in model") == 3  # each figure says so by itself


def test_every_figure_is_a_png_that_is_not_blank(html: str, stage_dir: Path) -> None:
    pictures = {path.stem: imread(path) for path in (stage_dir / "plots").glob("*.png")}
    assert set(pictures) == {"accuracy_tokens", "reliability", "entropy", "throughput"}
    for name, picture in pictures.items():
        assert picture.shape[1] == 1440
        assert 0.003 < (picture[..., :3].min(axis=-1) < 0.9).mean() < 0.5, name
        assert f'id="{name}-figure_1"' in html


def test_the_page_carries_every_answer_with_its_probabilities(html: str, run: StageRun) -> None:
    data = embedded(html)
    assert [method["key"] for method in data["methods"]] == list(METHODS)
    assert [question["name"] for question in data["questions"]] == list(run.questions)
    for question in data["questions"]:
        for method, shown in question["answered"].items():
            row = run.answered[method, question["name"]]
            assert (shown["text"], shown["answer"]) == (row.text, row.answer)
            np.testing.assert_allclose(shown["probabilities"], list(row.probabilities.values()), atol=1e-5)
            assert shown["none"] == pytest.approx(0.1, abs=1e-4)
            assert shown["logZ"] is None  # minus infinity, which JSON cannot hold


def test_the_tree_in_the_page_is_the_tree_in_the_file(html: str, stage_dir: Path) -> None:
    texts = {(row["problem"], row["node"]): row["text"] for row in texts_of(stage_dir)}
    nodes = pq.read_table(stage_dir / "tree" / "dts.parquet").to_pylist()
    data = embedded(html)
    assert len(data["trees"]) == 2
    for tree in data["trees"]:
        name = data["questions"][tree["question"]]["name"]
        rows = [row for row in nodes if row["problem"] == name]
        place = {row["node"]: k for k, row in enumerate(rows)}
        assert tree["parent"] == [place.get(row["parent"], -1) for row in rows]
        assert tree["visits"] == [row["visits"] for row in rows]
        np.testing.assert_allclose(tree["weight"], [row["weight"] for row in rows], rtol=1e-6)
        said: list[str] = []
        for k, row in enumerate(rows):
            said.append((said[tree["parent"][k]] if k else "") + tree["text"][k])
            assert said[-1] == texts[name, row["node"]]


def texts_of(directory: Path) -> list[dict]:
    return pq.read_table(directory / "tree" / "dts-texts.parquet").to_pylist()


def test_below_the_root_lie_the_answers_marginal_of_the_weighted_samples(run: StageRun) -> None:
    rng = np.random.default_rng(7)
    problems = made_up_problems(rng)
    rng.bit_generator.state = np.random.default_rng(1).bit_generator.state
    search = grown_search(problems, 40, rng)
    shares = node_answers(search, problems)
    assert all(sum(of_node.values()) == pytest.approx(1.0) for of_node in shares.values())
    weight = np.exp(search.log_draw_probability())
    for number, (problem, drawn) in enumerate(zip(problems, search.samples(), strict=True)):
        expected = answered("dts", problem, drawn, 1, 1, 1).probabilities
        mine = [node for node in shares if search.problem_of_nodes()[node] == number]
        total = {answer: sum(weight[node] * shares[node].get(answer, 0.0) for node in mine) for answer in LABELS}
        assert total == pytest.approx(expected)
    for tree in run.trees.values():
        np.testing.assert_allclose(tree.claims[0].sum(), 1.0, rtol=1e-6)
        inner = np.unique(tree.nodes.parent[1:])
        below = np.array([tree.claims[tree.nodes.parent == node].sum(0) for node in inner])
        np.testing.assert_allclose(tree.claims[inner], below, atol=1e-12)


def test_without_a_column_of_answers_leaves_are_read(fresh_stage: Path) -> None:
    path = fresh_stage / "tree" / "dts-texts.parquet"
    table = pq.read_table(path).drop_columns("answers")
    texts = [f"{text} sitting" if text.endswith("Answer:") else text for text in table["text"].to_pylist()]
    pq.write_table(table.set_column(2, "text", [texts]), path)
    for tree in read_stage_run(fresh_stage).trees.values():
        np.testing.assert_allclose(tree.claims[0], [0, 1, 0], atol=1e-6)


def test_texts_that_do_not_continue_their_parents_stay_whole() -> None:
    one = np.zeros(3)
    nodes = NodeTable(np.arange(3), np.array([-1, 0, 1]), np.arange(3), one.astype(int), *[one] * 4)
    assert added_texts(nodes, ["", "caf\ufffd", "café au lait"]) == ("", "caf\ufffd", "é au lait")
    assert added_texts(nodes, ["", "First.", "Then."]) == ("", "First.", "Then.")


def test_a_tree_too_large_for_the_page_keeps_its_heaviest_nodes(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_examples, "MAX_NODES", 20)
    for packed, tree in zip(examples(run)["trees"], run.trees.values(), strict=True):
        assert (len(packed["text"]), packed["omitted"]) == (20, len(tree) - 20)
        np.testing.assert_allclose(packed["claims"][0], tree.claims[0], atol=1e-6)  # the omitted nodes still count


def test_questions_with_a_tree_are_shown_before_others(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_examples, "MAX_QUESTIONS", 3)
    shown = [question["name"] for question in examples(run)["questions"]]
    assert len(shown) == 3
    assert {problem for _, problem in run.trees} <= set(shown)


def test_a_long_series_keeps_its_extremes_and_gaps_stay_gaps() -> None:
    values = np.random.default_rng(0).normal(size=5_000)
    values[1_234] = 9.0
    kept = thinned(values, 200)
    assert len(kept) == 200
    assert (kept.max(), kept.min()) == (9.0, values.min())
    packed = pack_series(np.array([1.0, np.nan, 3.0]), 100)
    assert packed == {"low": 1.0, "high": 3.0, "points": [0, None, 4_095]}


def test_captions_are_judged_by_rouge_and_have_no_answers_to_choose(fresh_stage: Path) -> None:
    rows = [
        {"method": method, "rationales": 4, "tokens": 10.0, "accuracy": None, "rouge_l": rouge, "oracle": False}
        for method, rouge in (("self-consistency", 0.25), ("dts", 0.375))
    ]
    summary = {"rows": rows, "calibration": {}, "entropy_profile": None, "template_accuracy": None}
    change_json(fresh_stage / "summary.json", **summary)
    for name, changes in (("questions", {"answers": [], "label": None}), ("answers", {"probabilities": {}})):
        path = fresh_stage / f"{name}.jsonl"
        lines = [json.loads(line) | changes for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (fresh_stage / "plots").mkdir(exist_ok=True)
    (fresh_stage / "plots" / "reliability.png").touch()
    page = write_stage_report(fresh_stage).read_text(encoding="utf-8")
    assert "DTS reaches a ROUGE-L of 0.375 on 12 questions with 4 rationales, 0.125 above self-consistency" in page
    assert not (fresh_stage / "plots" / "reliability.png").exists()  # of the report before


@pytest.mark.parametrize(
    "name", ["config.json", "summary.json", "questions.jsonl", "answers.jsonl", "tree/dts-texts.parquet"]
)
def test_a_missing_file_of_a_stage_run_is_named(fresh_stage: Path, name: str) -> None:
    (fresh_stage / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing"):
        read_stage_run(fresh_stage)


def test_a_run_without_trees_or_metrics_has_a_page_without_them(fresh_stage: Path) -> None:
    shutil.rmtree(fresh_stage / "tree")
    (fresh_stage / "metrics.jsonl").unlink()
    bare = read_stage_run(fresh_stage)
    page = render_stage_page(bare, {})
    assert embedded(page)["trees"] == []
    assert throughput_chart(bare, 10.0) is None
    assert "<h2>Throughput" not in page


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("answers.jsonl", lambda row: {k: v for k, v in row.items() if k != "tokens"}, r"line 1 lacks 'tokens'"),
        (
            "answers.jsonl",
            lambda row: row | {"problem": "x"},
            r"line 1 answers 'x', which questions.jsonl does not ask",
        ),
        ("answers.jsonl", lambda row: [1], r"line 1 is not a JSON object"),
        ("questions.jsonl", lambda row: row | {"spectrum": [1.0]}, r"line 1 is not a question .*17 frequencies"),
        ("questions.jsonl", lambda row: row | {"series": [["x"]]}, r"line 1 is not a question .*could not convert"),
        ("summary.json", lambda row: {"rows": [{"accuracy": 1}]}, r"each naming its 'method'"),
        ("config.json", lambda row: {"search": {}}, r"names no stage"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(fresh_stage: Path, name: str, damage, message: str) -> None:
    path = fresh_stage / name
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n") if name.endswith("l") else (text, "", "")
    path.write_text(json.dumps(damage(json.loads(first))) + "\n" + rest, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_stage_run(fresh_stage)


def test_a_node_without_its_text_is_named(fresh_stage: Path) -> None:
    path = fresh_stage / "tree" / "dts-texts.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ValueError, match=r"dts-texts.parquet has no text for node 0"):
        read_stage_run(fresh_stage)


def test_the_report_command_remakes_the_same_page(
    fresh_stage: Path, html: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(fresh_stage)])
    report.main()
    assert "report.html" in capsys.readouterr().out
    assert (fresh_stage / "report.html").read_text(encoding="utf-8") == html
    (fresh_stage / "answers.jsonl").unlink()
    with pytest.raises(SystemExit, match=r"answers\.jsonl is missing"):
        report.main()


CLICKS = """<script>setTimeout(() => {
  const get = (id) => document.getElementById("answers-" + id), view = get("view");
  const choose = (id, value) => { get(id).value = value; get(id).dispatchEvent(new Event("change")); };
  const count = (id, selector) => get(id).querySelectorAll(selector).length;
  view.dataset.path = count("nodes", ".heaviest");
  get("open").click();
  view.dataset.open = count("nodes", "[data-node]");
  const root = () => get("nodes").querySelector('[data-node="0"]');
  root().click();
  view.dataset.closed = count("nodes", "[data-node]");
  root().dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  view.dataset.again = count("nodes", "[data-node]");
  const told = (selector) => get("said").querySelector(selector)?.textContent ?? "";
  view.dataset.likely = told("b") + told(".further");
  for (const [name, button] of [["first", "after"], ["second", "after"], ["last", "before"]]) {
    for (let k = 0; k <= (name === "last"); k++) get("text-" + button).click();
    view.dataset[name] = told(".text");
    view.dataset[name + "fact"] = told("p");
  }
  for (const key of ["visits", "value", "weight"]) choose("order", key);
  view.dataset.lines = count("series", "path.line") + " " + count("spectra", "path.template");
  view.dataset.gold = get("bars").querySelector("th.gold").textContent;
  for (const filter of ["differ", "tree", "right", "wrong"]) {
    choose("filter", filter);
    view.dataset[filter] = get("question").options.length;
  }
  view.dataset.text = get("text").textContent;
  choose("filter", "all"); choose("method", "greedy"); get("after").click();
  view.dataset.none = get("tree-count").textContent;
  view.dataset.evil = String(window.evil);
}, 1000);</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_questions_trees_and_texts_are_shown_and_nothing_runs(
    html: str, run: StageRun, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", CLICKS), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    tag = re.search(r'<div id="answers-view"[^>]*>', done.stdout)
    assert tag is not None
    said = dict(re.findall(r'data-(\w+)="([^"]*)"', tag.group()))
    tree = next(iter(run.trees.values()))
    nodes = str(len(tree))
    assert [said[name] for name in ("open", "closed", "again")] == [nodes, "1", nodes]
    assert said["path"] == "4"  # root, two sentences, the end
    leaves = np.flatnonzero(~np.isin(np.arange(len(tree)), tree.nodes.parent) & (tree.nodes.weight > 0))
    order = leaves[np.argsort(-tree.nodes.weight[leaves], kind="stable")]
    stepped = [html_text(said[name]) for name in ("first", "second", "last")]
    assert stepped == [whole_text(tree, row) for row in order[[0, 1, -1]]]
    assert said["secondfact"].startswith(f"text 2 of {len(order)} · ")
    assert "best reward 0 " in said["secondfact"]
    assert said["likely"].endswith("Answer:")
    assert len(said["likely"]) > len("Answer:")
    assert said["lines"] == "3 2"
    assert said["gold"] == "walking ◆ gold"
    assert [said[name] for name in ("differ", "tree", "right", "wrong")] == ["4", "2", "10", "2"]
    assert said["text"].startswith("dts says so.&lt;/script")
    assert said["none"].startswith("No tree was kept of this question and method")
    assert said["evil"] == "undefined"


def whole_text(tree: TextTree, row: int) -> str:
    """From the root down to the row."""
    above = int(tree.nodes.parent[row])
    return (whole_text(tree, above) if above >= 0 else "") + tree.added[row]


def test_texts_made_up_here_are_those_of_states() -> None:
    assert text_of(np.array([0, 3, -1])) == "The energy is low. Answer:"
