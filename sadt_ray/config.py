"""The settings of a search, checked when they are made, and the names that configurations give to functions.

Settings are frozen, so that the resolved configuration can be written beside every result.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

Selection = Literal["boltzmann", "uct"]
Draw = Literal["softmax", "argmax", "uniform"]
SelectionRule = Callable[..., int]
WideningRule = Callable[..., bool]


@dataclass(frozen=True)
class SearchConfig:
    """One search over a forest; budgets are per problem. Defaults are DTS as published (arXiv 2506.20701)."""

    inv_temperature: float = 1.0
    """lambda: the target is p(x_0) exp(lambda r(x_0)) / Z."""
    selection: str | SelectionRule = "boltzmann"
    """boltzmann: a child with probability softmax(beta v) (DTS). uct: the highest v + c sqrt(log N / N_c) (DTS*). Or a
    rule of your own, a function or its name module:function, see ``tree.rules``."""
    alpha: float = 0.0
    """Share of the flow in selection: it reads a child's value as (1 - alpha) v + alpha F, F = log_flow / lambda
    (S-ADT). Backup and draw never read F. At 1 selection depends on states and counts alone, and E[Z_hat] = Z at any
    number of simulations; below 1 it adapts to what was found, and is biased low. Above 0 it needs a flow."""
    alpha_visits: float | None = None
    """Visits k after which half of alpha is left: alpha_c = alpha k / (k + N_c), N_c the child's finished simulations.
    The flow leads while a child was seen little, then what was found takes over. None: alpha stays as it is."""
    selection_inv_temperature: float | None = None
    """beta of the Boltzmann selection; lambda if not given. Lower values explore more and bias the values less."""
    draw: Draw = "softmax"
    """How finished samples are weighted: softmax (DTS), argmax (DTS*, best-of-N), uniform (the prior)."""
    draw_inv_temperature: float | None = None
    """Inverse temperature of the softmax draw; lambda if not given."""
    c_uct: float = 1.0
    """Exploration constant of uct, in units of the reward; 0 is greedy."""
    widening: str | WideningRule = "progressive"
    """When a node gets another child. progressive: while it has fewer than widen_c N^widen_alpha. Or a rule of your
    own, a function or its name module:function, see ``tree.rules``."""
    widen_c: float = 2.0
    """A node may have widen_c N^widen_alpha children. Infinite: every simulation starts at the root."""
    widen_alpha: float = 0.8
    virtual_loss: float = 0.0
    """Pessimism for simulations in flight, in units of the reward: selection reads a child's value as
    v - virtual_loss O / (N + O), N finished, O in flight. Spreads what is asked at once; backup and draw know none."""
    n_rollouts: int | None = 200
    """Simulations per problem."""
    max_nfe: int | None = None
    """Function evaluations per problem; the search stops asking once they are spent."""
    until_ess: float | None = None
    """A problem is done before its budget once its samples, weighted for the target (softmax at lambda), have this
    effective size. Samples under one child of the root are not independent: root_ess is the count of those that are."""
    until_se: float | None = None
    """A problem is done before its budget once the standard error of its log Z, in nats, is this small. Whoever stops
    on an estimate of the error stops a little too often where large weights are still missing (``tree.stopping``)."""
    at_once: int | None = None
    """Problems of a forest searched at once; the next begins when one of them has asked for its last rollout.
    None: all in turn, which fills batches best. Few where rows of one problem are cheaper together (a prompt)."""
    seed: int = 0

    def __post_init__(self) -> None:
        _require(0 < self.inv_temperature < math.inf, "inv_temperature", self.inv_temperature, "a positive number")
        for name in ("selection_inv_temperature", "draw_inv_temperature"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < math.inf, name, value, "None or a number >= 0")
        _check_rule("selection", self.selection, get_args(Selection))
        _check_rule("widening", self.widening, ("progressive",))
        _require(0 <= self.alpha <= 1, "alpha", self.alpha, "a number in [0, 1]")
        for name in ("alpha_visits", "until_se"):
            value = getattr(self, name)
            _require(value is None or 0 < value < math.inf, name, value, "None or a positive number")
        _require(self.draw in get_args(Draw), "draw", self.draw, f"one of {get_args(Draw)}")
        _require(0 <= self.c_uct < math.inf, "c_uct", self.c_uct, "a number >= 0")
        _require(self.widen_c > 0, "widen_c", self.widen_c, "a positive number")
        _require(0 <= self.widen_alpha <= 1, "widen_alpha", self.widen_alpha, "a number in [0, 1]")
        _require(0 <= self.virtual_loss < math.inf, "virtual_loss", self.virtual_loss, "a number >= 0")
        for name in ("n_rollouts", "max_nfe", "until_ess", "at_once"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "None or at least 1")
        _require(self.n_rollouts is not None or self.max_nfe is not None, "n_rollouts", None, "set when max_nfe is not")
        _require(self.seed >= 0, "seed", self.seed, "at least 0")


def _check_rule(name: str, rule: object, built_in: tuple[str, ...]) -> None:
    known = callable(rule) or rule in built_in or (isinstance(rule, str) and ":" in rule)
    _require(known, name, rule, f"one of {', '.join(built_in)}, module:function, or a function")


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def load_function(name: str, what: str = "function") -> Callable[..., Any]:
    """The function that ``"package.module:function"`` names.

    Args:
        what: what it is wanted for, such as "reward", for the error.

    Raises:
        ValueError: if it is not written so, cannot be imported, or is no function; says what is missing.
    """
    module_name, separator, attribute = name.partition(":")
    if not (separator and module_name and attribute):
        raise ValueError(f"a {what} is written module:function, for example my_module:my_{what}; got {name!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"cannot import {module_name!r} for the {what} {name!r}: {type(error).__name__}: {error}; "
            "is its directory on PYTHONPATH?"
        ) from error
    if not hasattr(module, attribute):
        functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ValueError(
            f"module {module_name!r} has no {attribute!r}; it has: {', '.join(functions) or 'no functions'}"
        )
    function: Any = getattr(module, attribute)
    if not callable(function):
        raise ValueError(f"a {what} must be a function, {name!r} is {function!r}")
    return function


def name_of(function: str | Callable[..., Any]) -> str:
    """The name of a function as ``load_function`` reads it; a name is returned as it is."""
    if isinstance(function, str):
        return function
    return f"{function.__module__}:{function.__qualname__}"
