"""A condition is read as it is meant, written back to the same tree, and refused at the character that is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.conditions.grammar import DAYS, parse_tree
from sadt_ray.conditions.parse import ParsedCondition, parse_condition
from sadt_ray.conditions.syntax import (
    Arithmetic,
    Both,
    Chain,
    ConditionError,
    Counted,
    During,
    Either,
    Endpoint,
    Interval,
    Named,
    Negated,
    Negative,
    Number,
    Summary,
    Tally,
    Weekdays,
)

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "conditions.md"

numbers = st.builds(
    Number,
    st.one_of(st.integers(0, 10**6).map(float), st.floats(0, 1e300)),
    st.sampled_from(["", "", "MW", "h", "min", "m/s", "°C", "%", "and", "kWh²"]),
)
plain = st.builds(Number, st.integers(1, 400).map(float))
names = st.builds(
    Named,
    st.one_of(st.sampled_from(["x", "load", "max", "Or", 'a "b"', "c\\", "日本", "net load"]), st.text(min_size=1)),
)
dates = st.dates().filter(lambda day: day.year >= 1000)
minutes = st.times().map(lambda t: t.replace(microsecond=0))
clock = minutes.map(lambda t: f"{t:%H:%M:%S}" if t.second else f"{t:%H:%M}")
moments = st.one_of(
    st.builds(Endpoint, st.just("moment"), st.builds("{} {}".format, dates, clock)),
    st.builds(Endpoint, st.just("date"), dates.map(str)),
    st.builds(Endpoint, st.just("month"), dates.map("{:%Y-%m}".format)),
)
times = st.builds(Endpoint, st.just("time"), clock)
parts = st.one_of(
    st.builds(Interval, moments, st.none() | moments),
    st.builds(Interval, times, st.none() | times),
    st.builds(Counted, st.sampled_from(["day", "hour", "step"]), plain, st.none() | plain),
    st.builds(
        Counted,
        st.sampled_from(["first", "last"]),
        st.builds(Number, plain.map(lambda n: n.value), st.sampled_from(["h", "d", "min"])),
    ),
    st.builds(Weekdays, st.sampled_from([*DAYS, "weekdays", "weekends"])),
)
brackets = st.lists(parts, min_size=1, max_size=3).map(tuple)
upward, downward = st.sampled_from(["<", "<="]), st.sampled_from([">", ">="])


def larger(inner):
    return st.one_of(
        st.builds(Negative, inner),
        st.builds(Arithmetic, inner, st.sampled_from("+-*/"), inner),
        st.builds(Summary, st.sampled_from(["max", "sum", "first"]), inner),
        st.builds(During, inner.filter(lambda tree: not isinstance(tree, Number)), brackets),
        st.tuples(
            inner, st.none() | inner, st.sampled_from(["<", ">="]), st.sampled_from(["count", "longest run"])
        ).map(lambda found: Tally(found[3], (found[1], found[0]), (found[2],))),
    )


quantities = st.recursive(
    st.one_of(numbers, names, st.builds(Summary, st.sampled_from(["min", "mean", "std", "range", "ramp", "last"]))),
    larger,
    max_leaves=6,
)


@st.composite
def chains(draw):
    operands = tuple(draw(st.lists(quantities, min_size=2, max_size=4)))
    sign = (
        draw(st.sampled_from([upward, downward, st.just("=")]))
        if len(operands) == 2
        else draw(st.sampled_from([upward, downward]))
    )
    operators = tuple(draw(sign) for _ in operands[1:])
    tolerances = ["~", "+-"] if operators == ("=",) else ["~"]
    widths = numbers.filter(lambda number: number.value > 0)
    return Chain(operands, operators, draw(st.none() | st.tuples(st.sampled_from(tolerances), widths)))


def joined(inner):
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Both, several),
        st.builds(Either, several),
        st.builds(Negated, inner),
        st.builds(During, inner, brackets),
    )


trees = st.recursive(chains(), joined, max_leaves=5)


@given(trees)
def test_every_tree_is_written_so_that_it_is_read_as_the_same_tree(tree):
    assert parse_tree(str(tree)) == tree


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("not max > 1 and min < 2", "(not max > 1) and (min < 2)"),
        ("max > 1 or min < 2 and std > 3", "(max > 1) or (min < 2 and std > 3)"),
        ("not max > 1 or min < 2", "(not max > 1) or min < 2"),
        ("max + min * 2 > 1", "max + (min * 2) > 1"),
        ("max - min - mean > 1", "(max - min) - mean > 1"),
        ("-max * 2 > 1", "(-max) * 2 > 1"),
        ("A + B[day 1] > 1", "A + (B[day 1]) > 1"),
        ("not (max > 1)[day 1]", "not ((max > 1)[day 1])"),
        ("MAX>1 AND\n Average <2", "max > 1 and mean < 2"),
        ("total = 5±1", "sum = 5 +- 1"),
        ("sum = 5 +/- 1", "sum = 5 +- 1"),
        ("max ≥ 1_500.0e0", "max >= 1500"),
        ("longest  run( >5 )>=4h", "longest run(> 5) >= 4 h"),
        ("x[2026-1-3T6:05] > 1", "x[2026-01-03 06:05] > 1"),
        ("x[days 1..3, Mondays] > 1", "x[day 1..3, monday] > 1"),
        ("'a b' > 1", '"a b" > 1'),
        ("android > 1", '"android" > 1'),
    ],
)
def test_precedence_and_spelling(text, meaning):
    assert parse_condition(text) == parse_condition(meaning)


def test_a_parsed_condition_is_written_in_its_usual_form_and_keeps_its_text():
    parsed = parse_condition("(( max>1 ))")
    assert isinstance(parsed, ParsedCondition)
    assert (str(parsed), parsed.text) == ("max > 1", "(( max>1 ))")


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", "", "the condition is empty"),
        ("max >", "", "the end does not belong here"),
        ("max > 1 & min < 2", "&", "Write and, or, not"),
        ("max > 1)", ")", "does not belong here"),
        ("(max > 1", "", "Possible here: .*a closing parenthesis"),
        ("max", "max", "a number, not a condition"),
        ("max > 1 and min", "min", "a comparison is needed here"),
        ("max > (min > 3)", "min > 3", "a number is needed here"),
        ("max(A > 5) > 3", "A > 5", r"write count\(A > 5\)"),
        ("max < 5 +- 3", "+- 3", "A soft bound is written max < 1500 ~ 5"),
        ("100 < max > 50", "> 50", "a chain goes one way"),
        ("x = 3 = 4 +- 1", "= 4", "= does not stand in a chain"),
        ("max ~ 5", "max", "a tolerance without a comparison"),
        ("max != 5", "!=", r"Write not \(A = B"),
        ("sum = 3 +- 0", "0", "a tolerance must be above 0"),
        ("max[day] > 3", "day", r"as in \[day 1\]"),
        ("max[days 0..2] > 3", "0..", r"The first day is \[day 1\]"),
        ("max[1..24] > 3", "1..24", r"Write \[steps 1..24\]"),
        ("max[noon] > 3", "noon", "names no span"),
        ("max[first 3..4] > 3", "first", "names no span"),
        ("max[2026-02-31] > 3", "2026-02-31", "there is no date 2026-02-31"),
        ("max[25:00] > 3", "25:00", "there is no time of day 25:00"),
        ("max[18:00..2026-01-03] > 3", "18:00", "no ends of one span"),
        ("max[day 1 > 3", "> 3", r"Close the span with \]"),
        ("5[day 1] > 3", "[day", "a number has no time"),
        ("count > 3", "> 3", r"Say what is counted"),
        ("count(A) > 3", "A", r"Say what is counted"),
        ("count(A = 3 +- 1) > 3", "count", "above or below"),
        ('max("a) > 3', '"a', "ends with the same quote"),
        ("max > 1e999", "1e999", "too large"),
        ("max > 5 and\nmin < 3 ]", "]", "does not belong here"),
    ],
)
def test_an_error_points_at_the_character_and_names_the_remedy(text, at, message):
    with pytest.raises(ConditionError, match=message) as caught:
        parse_condition(text)
    position = caught.value.position
    assert text[position:].startswith(at) if at else position == len(text.rstrip())
    lines = str(caught.value).split("\n")
    row = next(number for number, line in enumerate(lines) if line.strip(" ") and not line.strip(" ^"))
    line_of_text = text[text.rfind("\n", 0, position) + 1 :].partition("\n")[0]
    assert lines[row - 1] == f"  {line_of_text}"
    assert lines[row].index("^") - 2 == position - (text.rfind("\n", 0, position) + 1)


def test_long_texts_show_the_part_about_the_error_and_deep_ones_are_refused():
    text = " and ".join(["max > 1"] * 60) + " and min"
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    shown, carets = str(caught.value).split("\n")[1:3]
    assert len(shown) < 110
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "min"
    with pytest.raises(ConditionError, match="nested too deeply"):
        parse_condition("(" * 5000 + "max > 1" + ")" * 5000)


def examples():
    text = PAGE.read_text()
    for block in text.split("```text\n")[1:]:
        yield from (line.partition("#")[0].strip() for line in block.partition("```")[0].splitlines())
    for line in text.splitlines():
        if line.startswith("| `"):
            yield from line.split("|")[1].split("`")[1::2]


@pytest.mark.parametrize("text", [*examples()])
def test_every_example_of_the_page_is_read(text):
    parsed = parse_condition(text)
    assert parse_condition(str(parsed)) == parsed


def test_the_page_has_examples():
    assert len(list(examples())) > 40
