"""Progressive widening: a node may have C (N + O)^alpha children, finished and pending together."""

from __future__ import annotations

from sadt_ray.numerics.compiled import compiled


@compiled(inline="always")
def may_widen(t, p, node):  # type: ignore[no-untyped-def]
    """DTS's rule |C| < C N^alpha (arXiv 2506.20701), N = visits + 1, with simulations in flight counted on both sides.

    A node whose first children are all still in flight widens too: there is nothing to descend into.
    """
    n = 1.0 + t.visits[node] + t.in_flight[node]
    return t.num_children[node] == 0 or t.num_children[node] + t.pending[node] < p.widen_c * n**p.widen_alpha
