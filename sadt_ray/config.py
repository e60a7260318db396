"""The settings of a search, checked when they are made, and the functions of a user's own that they may name.

Settings are frozen, so that the resolved configuration can be written beside every result. A function in them is
written by its name, ``module:function``.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

Selection = Literal["boltzmann", "uct"]
Draw = Literal["softmax", "argmax", "uniform"]


class NodeCounts(NamedTuple):
    """A node of the tree in numbers: what a widening rule decides by."""

    level: int
    """0 at the root. Nodes of the last level, x_0, are never asked about."""
    visits: int
    """Finished simulations through the node."""
    in_flight: int
    """Simulations through the node that were asked and are not finished."""
    num_children: int
    """Children in the tree, at least 1: a node without children always gets one."""
    pending: int
    """Simulations in flight that will give this very node another child."""
    widen_c: float
    """The setting of this name, for the rule to use or to ignore."""
    widen_alpha: float
    """The setting of this name, for the rule to use or to ignore."""


class Children(NamedTuple):
    """The n children of one node, in order of arrival: what a selection rule decides by.

    The arrays are copies. A rule may change them; the tree stays as it is.
    """

    value: Float[np.ndarray, " n"]
    """Value as built-in selection reads it, in units of the reward: (1 - alpha) v + alpha F, less the virtual loss.
    With alpha = 0 and no virtual loss, the defaults of DTS, it is ``soft_value``. May be -inf."""
    soft_value: Float[np.ndarray, " n"]
    """v, the soft value of the finished simulations below each child, in units of the reward. May be -inf."""
    log_flow: Float[np.ndarray, " n"]
    """lambda F, the flow's estimate of lambda v, in nats; 0 without a flow."""
    visits: Int[np.ndarray, " n"]
    """Finished simulations through each child, at least 1."""
    in_flight: Int[np.ndarray, " n"]
    """Simulations through each child that were asked and are not finished."""
    node: NodeCounts
    """The node whose children they are."""
    inv_temperature: float
    """lambda."""
    selection_inv_temperature: float
    """The setting of this name, lambda if it is not given; for the rule to use or to ignore."""
    c_uct: float
    """The setting of this name, for the rule to use or to ignore."""


@runtime_checkable
class SelectionRule(Protocol):
    """Chooses the child that a simulation goes on with: ``rule(children, uniform) -> index``.

    Called at every node that gets no new child, from the root down. It may be a plain function or one that
    ``numba.njit`` compiled. It should depend on its arguments alone: then a search is repeatable, and a resumed search
    goes on as the first one would have. Selection by counts and flow keeps E[Z_hat] = Z; selection by values found so
    far makes log Z low.

    Args:
        children: of the node, at least one.
        uniform: a number in (0, 1), for a rule that draws. It follows from the seed, the level and the simulation.

    Returns:
        A position in the arrays of ``children``, an integer from 0 to n - 1. Another answer ends the search with a
        ValueError that names the rule.
    """

    def __call__(self, children: Children, uniform: float, /) -> int: ...


@runtime_checkable
class WideningRule(Protocol):
    """Decides whether a node gets another child: ``rule(node) -> bool``.

    Called at every node on the way down that has children and is no x_0. True: the simulation leaves the tree here, and
    its rollout becomes a new child. False: selection chooses one of the children. It may be a plain function or one
    that ``numba.njit`` compiled, and should depend on its argument alone.

    Args:
        node: the node in numbers. Count ``pending`` with ``num_children``, or simulations asked at once all become
            children of the same node.

    Returns:
        True or False. Another answer ends the search with a ValueError that names the rule.
    """

    def __call__(self, node: NodeCounts, /) -> bool: ...


@dataclass(frozen=True)
class SearchConfig:
    """One search over a forest; budgets are per problem. Defaults are DTS as published (arXiv 2506.20701)."""

    inv_temperature: float = 1.0
    """lambda: the target is p(x_0) exp(lambda r(x_0)) / Z."""
    selection: str | SelectionRule = "boltzmann"
    """boltzmann: a child with probability softmax(beta v) (DTS). uct: the highest v + c sqrt(log N / N_c) (DTS*). Or a
    rule of your own, a function or its name module:function; see ``SelectionRule``."""
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
    own, a function or its name module:function; see ``WideningRule``."""
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
    named = isinstance(rule, str) and ":" in rule
    known = callable(rule) or rule in built_in or named
    _require(known, name, rule, f"one of {', '.join(built_in)}, module:function, or a function")
    if named:
        load_function(str(rule), "rule")


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
    if "<" in attribute:
        raise ValueError(
            f"the {what} {name!r} was made inside another function or is an object, so that it cannot be loaded by a "
            "name; define it with def at the top of a module, or keep it there under a name of its own"
        )
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
    """The name of a function as ``load_function`` reads it; a name is returned as it is.

    A lambda, a function made inside another one, or an object with ``__call__`` has no such name: what is returned then
    contains ``<``, and ``load_function`` refuses it.
    """
    if isinstance(function, str):
        return function
    named = getattr(function, "__qualname__", None)
    owner = function if named is not None else type(function)
    return f"{owner.__module__}:{named if named is not None else f'<{owner.__qualname__} object>'}"


def settings_of(config: Any) -> dict[str, Any]:
    """The fields of a configuration by name, for a file: functions by their names, configurations inside it as
    dictionaries."""
    return {each.name: _as_setting(getattr(config, each.name)) for each in fields(config)}


def _as_setting(value: Any) -> Any:
    if callable(value):
        return name_of(value)
    return settings_of(value) if is_dataclass(value) else value


def check_named(config: Any) -> None:
    """Refuse a configuration whose functions a checkpoint could not name.

    Raises ValueError, with the setting and the function, for a lambda, a function made inside another one, or an object
    with ``__call__``.
    """
    for setting, value in settings_of(config).items():
        if isinstance(value, str) and "<" in value:
            raise ValueError(
                f"{setting} is {value}, which cannot be loaded by its name, so that a checkpoint could not say which "
                "rule the search follows; define it with def at the top of a module, give it as 'module:name', or "
                "search without checkpoints"
            )
