"""Read a condition from text, and resolve it for a problem.

    parse_condition("max[day 1] > 1500 and mean[18:00..22:00] < 900").resolve(problem, shape=(1, 96))

The language is described in docs/how-to/conditions.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sadt_ray.conditions.grammar import parse_tree
from sadt_ray.conditions.resolve import Resolver
from sadt_ray.conditions.syntax import Tree
from sadt_ray.conditions.terms import Condition
from sadt_ray.interfaces import Problem


@dataclass(frozen=True)
class ParsedCondition:
    """A condition that has been read and belongs to no problem yet. ``str`` writes it in its usual form.

    Attributes:
        tree: what it is made of. Conditions with equal trees are equal.
        text: as it was written.
    """

    tree: Tree
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return str(self.tree)

    def resolve(self, problem: Problem, shape: tuple[int, int]) -> Condition:
        """The condition on samples [..., C, T] of one problem, in the units of the file.

        Args:
            problem: whose ``time`` and ``scale`` give dates, names of series and the unit their meaning.
            shape: (C, T).

        Raises:
            ConditionError: for what does not fit the problem: a series or date that does not exist, an empty span,
                another unit, a bound that no sample or every sample satisfies, two bounds that exclude each other.
            ValueError: if the problem itself does not fit: a scale of other series, a time axis that cannot be read.
        """
        return Resolver(self.text or str(self.tree), problem, shape).condition(self.tree)


def parse_condition(text: str) -> ParsedCondition:
    """Read a condition. Only its form is checked; ``resolve`` checks it for a problem.

    Raises:
        ConditionError: with the place in the text, and how to write it.
    """
    return ParsedCondition(parse_tree(text), text)
