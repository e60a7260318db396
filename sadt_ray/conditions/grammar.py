"""The grammar of conditions, and how its text becomes a tree.

From loose to tight: ``or``, ``and``, ``not``, comparisons, ``+ -``, ``* /``, the sign ``-``, brackets ``[...]``.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from sadt_ray.conditions.syntax import (
    CHARACTERS,
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
    Part,
    Quantity,
    Summary,
    Tally,
    Tree,
    Weekdays,
    is_statement,
)

GRAMMAR = r"""
start: condition

?condition: conjunction
    | conjunction (_OR conjunction)+        -> either
?conjunction: negation
    | negation (_AND negation)+             -> both
?negation: comparison
    | NOT negation                          -> negated
?comparison: sum
    | sum (COMPARE sum)* tolerance          -> chain
    | sum (COMPARE sum)+                    -> chain
tolerance: (BAND | SOFT) number

?sum: product
    | sum (PLUS | MINUS) product            -> arithmetic
?product: unary
    | product (TIMES | DIVIDE) unary        -> arithmetic
?unary: during
    | MINUS unary                           -> negative
?during: atom
    | during bracket                        -> during

?atom: number
    | NAME                                  -> named
    | STRING                                -> named
    | STATISTIC                             -> summary
    | STATISTIC "(" condition _CLOSE        -> summary
    | TALLY "(" condition _CLOSE            -> tally
    | TALLY "(" (COMPARE sum)+ _CLOSE       -> tally_of_only
    | OPEN condition _CLOSE                 -> group
number: NUMBER (NAME | STRING)?

bracket: "[" part ("," part)* "]"
?part: endpoint                             -> interval
    | endpoint _RANGE endpoint              -> interval
    | NAME                                  -> word
    | NAME number                           -> counted
    | NAME number _RANGE number             -> counted
    | number                                -> bare
    | number _RANGE number                  -> bare
endpoint: MOMENT | DATE | MONTH | TIME

_OR.5: /or(?![\w.])/i
_AND.5: /and(?![\w.])/i
NOT.5: /not(?![\w.])/i
STATISTIC.5: /(max|min|mean|average|sum|total|std|range|ramp|first|last)(?![\w.])/i
TALLY.5: /(count|longest\s+run)(?![\w.])/i
COMPARE: "<=" | ">=" | "<" | ">" | "==" | "=" | "≤" | "≥" | "!=" | "≠"
BAND.6: "+-" | "±" | "+/-"
SOFT: "~"
PLUS: "+"
MINUS: "-" | "−"
TIMES: "*" | "·"
DIVIDE: "/"
OPEN: "("
_CLOSE: ")"
_RANGE.6: ".." | "…"
MOMENT.4: /\d{4}-\d{1,2}-\d{1,2}([Tt]|\s+)\d{1,2}:\d{2}(:\d{2})?/
DATE.3: /\d{4}-\d{1,2}-\d{1,2}/
MONTH.2: /\d{4}-\d{1,2}/
TIME.4: /\d{1,2}:\d{2}(:\d{2})?/
NUMBER: /(\d+(_\d+)*(\.(?!\.)(\d+(_\d+)*)?)?|\.\d+)([eE][+-]?\d+)?/
NAME: /([^\W\d]|[°%€$£])[\w°%€$£]*(\.[\w]+)*/
STRING: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/

%import common.WS
%ignore WS
"""

ALIASES = {"average": "mean", "total": "sum"}
SIGNS = {"≤": "<=", "≥": ">=", "==": "=", "≠": "!=", "+/-": "+-", "±": "+-", "−": "-", "·": "*", "…": ".."}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SPANS = "[day 1], [day 1..3], [18:00..22:00], [2026-01-03 18:00], [hours 1..24], [steps 1..24], [first 4h], [weekdays]"
_EXAMPLE = "A condition is written like max > 1500, or sum[day 1] = 32000 +- 500."
_WORDS = {
    "COMPARE": "a comparison (< <= > >= =)",
    "_CLOSE": "a closing parenthesis",
    "RSQB": "a closing bracket",
    "NUMBER": "a number",
    "NAME": "a name",
    "STATISTIC": "a statistic (max, min, mean, sum, std, range, ramp, first, last)",
    "TALLY": "count(...) or longest run(...)",
    "_AND": "and",
    "_OR": "or",
    "_RANGE": "..",
    "LPAR": "an opening parenthesis",
    "$END": "the end",
}


def parse_tree(text: str) -> Tree:
    """The tree of a condition. Raises ConditionError, which shows the place in the text."""
    if not text.strip():
        raise ConditionError("the condition is empty", text, 0, _EXAMPLE)
    try:
        tree = Reader(text).transform(_parser().parse(text))
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None
    except VisitError as error:
        raise error.orig_exc from None
    except RecursionError:
        raise ConditionError("the condition is nested too deeply", text, 0) from None
    if not is_statement(tree):
        raise ConditionError(
            "this is a number, not a condition", text, (0, len(text)), f"Compare it, as in {text.strip()} > 5."
        )
    return tree


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def _syntax_error(error: UnexpectedInput, text: str) -> ConditionError:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        where: CHARACTERS | int = (error.token.start_pos or 0, error.token.end_pos or 0)
        found = f"{str(error.token)!r}"
    elif isinstance(error, UnexpectedCharacters):
        where = error.pos_in_stream or 0
        found = f"{text[where]!r}"
    else:
        where, found = len(text.rstrip()), "the end"
    expected = error.accepts if isinstance(error, UnexpectedToken) else error.allowed  # type: ignore[attr-defined]
    return ConditionError(f"{found} does not belong here", text, where, _hint(text, where, expected or set()))


def _hint(text: str, where: CHARACTERS | int, expected: set[str]) -> str:
    first = where[0] if isinstance(where, tuple) else where
    rest, before = text[first:], text[:first].rstrip()
    if before.count("[") > before.count("]"):
        return "Close the span with ]." if "RSQB" in expected else f"A span is written like {SPANS}."
    if before.lower().endswith(("count", "run")):
        return "Say what is counted: count(> 1200), count(A > 1200) or longest run(> 1200)."
    if before.lower().endswith("longest"):
        return "It is written longest run(> 1200)."
    if rest.startswith(("&", "|", "!")):
        return "Write and, or, not."
    if rest.startswith(('"', "'")):
        return "A name in quotes ends with the same quote."
    words = [word for name, word in _WORDS.items() if name in expected]
    return f"Possible here: {', '.join(words)}." if words else _EXAMPLE


@v_args(meta=True)
class Reader(Transformer):
    """Makes the nodes of the tree. It checks what the grammar alone does not: numbers where numbers belong."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def start(self, meta: Any, found: list[Any]) -> Tree:
        return found[0]

    def either(self, meta: Any, parts: list[Tree]) -> Either:
        return Either(self._statements(parts), _place(meta))

    def both(self, meta: Any, parts: list[Tree]) -> Both:
        return Both(self._statements(parts), _place(meta))

    def negated(self, meta: Any, found: list[Any]) -> Negated:
        (part,) = self._statements(found[1:])
        return Negated(part, _place(meta))

    def chain(self, meta: Any, found: list[Any]) -> Chain:
        tolerance = found.pop() if isinstance(found[-1], tuple) else None
        operands, operators = self._quantities(found[::2]), tuple(map(_sign, found[1::2]))
        if not operators:
            raise ConditionError(
                "a tolerance without a comparison", self.text, _place(meta), f"Write = or a bound before it: {_EXAMPLE}"
            )
        self._check_operators(operators, found[1::2], tolerance, meta)
        return Chain(operands, operators, tolerance and tolerance[:2], _place(meta))

    def _check_operators(
        self, operators: tuple[str, ...], tokens: Sequence[Token], tolerance: tuple | None, meta: Any
    ) -> None:
        where = [(token.start_pos or 0, token.end_pos or 0) for token in tokens]
        if "!=" in operators:
            at = where[operators.index("!=")]
            raise ConditionError("!= is no comparison", self.text, at, "Write not (A = B +- d).")
        if "=" in operators and len(operators) > 1:
            raise ConditionError("= does not stand in a chain", self.text, where[1], "Join two comparisons with and.")
        if len({operator[0] for operator in operators}) > 1:
            raise ConditionError("a chain goes one way", self.text, where[1], "Write 100 < max < 200.")
        if tolerance and tolerance[0] == "+-" and "=" not in operators:
            at = tolerance[2]
            raise ConditionError("+- belongs to =", self.text, at, "A soft bound is written max < 1500 ~ 5.")

    def tolerance(self, meta: Any, found: list[Any]) -> tuple[str, Number, CHARACTERS]:
        sign, number = found
        if number.value <= 0:
            raise ConditionError(
                "a tolerance must be above 0", self.text, number.span, "Leave it out for a hard bound."
            )
        return _sign(sign), number, (sign.start_pos, number.span[1])

    def arithmetic(self, meta: Any, found: list[Any]) -> Arithmetic:
        left, right = self._quantities([found[0], found[2]])
        return Arithmetic(left, _sign(found[1]), right, _place(meta))

    def negative(self, meta: Any, found: list[Any]) -> Negative:
        (inner,) = self._quantities(found[1:])
        return Negative(inner, _place(meta))

    def during(self, meta: Any, found: list[Any]) -> During:
        inner, (parts, bracket) = found
        if isinstance(inner, Number):
            raise ConditionError("a number has no time", self.text, bracket, "Put the span after a statistic.")
        return During(inner, parts, _place(meta), bracket)

    def group(self, meta: Any, found: list[Any]) -> Tree:
        return found[1]

    def named(self, meta: Any, found: list[Token]) -> Named:
        return Named(_unquoted(found[0]), _place(meta))

    def number(self, meta: Any, found: list[Token]) -> Number:
        value = float(found[0])
        if value == float("inf"):
            raise ConditionError("this number is too large", self.text, _place(meta))
        return Number(value, _unquoted(found[1]) if len(found) > 1 else "", _place(meta))

    def summary(self, meta: Any, found: list[Any]) -> Summary:
        word = found[0].lower()
        if len(found) > 1 and is_statement(found[1]):
            hint = f"To count the time steps at which it holds write count({found[1]})."
            raise ConditionError(f"{word} takes series, not a comparison", self.text, found[1].span, hint)
        return Summary(ALIASES.get(word, word), found[1] if len(found) > 1 else None, _place(meta))

    def tally(self, meta: Any, found: list[Any]) -> Tally:
        what = found[1]
        if not isinstance(what, Chain):
            remedy = "Say what is counted: count(> 1200), count(A > 1200) or longest run(> 1200)."
            raise ConditionError("one comparison is needed here", self.text, what.span, remedy)
        return self._tally(found[0], what.operands, what.operators, what.tolerance, meta)

    def tally_of_only(self, meta: Any, found: list[Any]) -> Tally:
        operators = tuple(map(_sign, found[1::2]))
        self._check_operators(operators, found[1::2], None, meta)
        return self._tally(found[0], (None, *self._quantities(found[2::2])), operators, None, meta)

    def _tally(self, word: Token, operands: tuple, operators: tuple[str, ...], tolerance: Any, meta: Any) -> Tally:
        name = "count" if word.lower() == "count" else "longest run"
        if tolerance or "=" in operators or "!=" in operators:
            remedy = f"Write {name}(> 1200), or {name}(1150 < A < 1250)."
            raise ConditionError("what is counted is above or below something", self.text, _place(meta), remedy)
        return Tally(name, operands, operators, _place(meta))

    def bracket(self, meta: Any, parts: list[Part]) -> tuple[tuple[Part, ...], CHARACTERS]:
        return tuple(parts), _place(meta)

    def interval(self, meta: Any, ends: list[Endpoint]) -> Interval:
        kinds = {end.kind for end in ends}
        if "time" in kinds and len(kinds) > 1:
            remedy = "Write [18:00..22:00] for every day, or [2026-01-03 18:00..2026-01-03 22:00]."
            raise ConditionError("a date and a time of day are no ends of one span", self.text, _place(meta), remedy)
        return Interval(ends[0], ends[1] if len(ends) > 1 else None, _place(meta))

    def endpoint(self, meta: Any, found: list[Token]) -> Endpoint:
        token = found[0]
        kind = token.type.lower()
        try:
            return Endpoint(kind, _normal(kind, str(token)), _place(meta))
        except ValueError:
            name = "date" if kind != "time" else "time of day"
            remedy = "Dates are written 2026-01-03, times 18:00."
            raise ConditionError(f"there is no {name} {token}", self.text, _place(meta), remedy) from None

    def word(self, meta: Any, found: list[Token]) -> Weekdays:
        word = found[0].lower()
        singular = word.removesuffix("s")
        if singular in DAYS:
            return Weekdays(singular, _place(meta))
        if singular in ("weekday", "weekend"):
            return Weekdays(singular + "s", _place(meta))
        remedy = f"Number it, as in [{singular} 1]." if singular in ("day", "hour", "step") else ""
        raise self._no_span(found[0], remedy)

    def counted(self, meta: Any, found: list[Any]) -> Counted:
        word = found[0].lower()
        if word not in ("first", "last"):
            word = word.removesuffix("s")
        if word not in ("day", "hour", "step", "first", "last") or (word in ("first", "last") and len(found) > 2):
            raise self._no_span(found[0], "")
        for number in found[1:]:
            if word in ("first", "last"):
                if number.value <= 0:
                    raise ConditionError("this span is empty", self.text, number.span, "Write [first 4h].")
            elif number.unit or number.value < 1 or not number.value.is_integer():
                remedy = f"The first {word} is [{word} 1]."
                raise ConditionError(f"a {word} is named by a whole number", self.text, number.span, remedy)
        return Counted(word, found[1], found[2] if len(found) > 2 else None, _place(meta))

    def bare(self, meta: Any, found: list[Number]) -> Counted:
        written = "..".join(map(str, found))
        remedy = f"Write [steps {written}], [hours {written}] or [days {written}]."
        raise ConditionError("a number of what?", self.text, _place(meta), remedy)

    def _no_span(self, word: Token, remedy: str) -> ConditionError:
        remedy = remedy or f"A span is written like {SPANS}."
        where = (word.start_pos or 0, word.end_pos or 0)
        return ConditionError(f"{str(word)!r} names no span", self.text, where, remedy)

    def _statements(self, parts: Sequence[Tree]) -> tuple[Tree, ...]:
        for part in parts:
            if not is_statement(part):
                remedy = f"Compare it, as in {part} > 5."
                raise ConditionError("a comparison is needed here, this is a number", self.text, part.span, remedy)
        return tuple(parts)

    def _quantities(self, parts: Sequence[Tree]) -> tuple[Quantity, ...]:
        for part in parts:
            if is_statement(part):
                remedy = "Join conditions with and, or, not."
                raise ConditionError("a number is needed here, this is a condition", self.text, part.span, remedy)
        return tuple(parts)  # type: ignore[arg-type]


def _place(meta: Any) -> CHARACTERS:
    return meta.start_pos, meta.end_pos


def _sign(token: Token) -> str:
    return SIGNS.get(str(token), str(token))


def _unquoted(token: Token) -> str:
    if token.type != "STRING":
        return str(token)
    characters, out = iter(token[1:-1]), []
    for character in characters:
        out.append(next(characters) if character == "\\" else character)
    return "".join(out)


def _normal(kind: str, text: str) -> str:
    """A date or time in its usual form. Raises ValueError if it does not exist."""
    if kind == "month":
        year, month = map(int, text.split("-"))
        return f"{datetime.date(year, month, 1):%Y-%m}"
    day, _, time = text.replace("T", " ").replace("t", " ").partition(" ") if kind == "moment" else (text, "", text)
    date = "" if kind == "time" else str(datetime.date(*map(int, day.split("-"))))
    if kind == "date":
        return date
    hour, minute, *seconds = map(int, time.split(":"))
    clock = datetime.time(hour, minute, sum(seconds))
    written = f"{clock:%H:%M:%S}" if clock.second else f"{clock:%H:%M}"
    return f"{date} {written}".strip()
