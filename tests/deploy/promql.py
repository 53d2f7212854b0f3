"""What a PromQL expression asks for: metrics, the labels it matches and the labels it keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser
from promql_parser import MatchOp

# What a scrape configuration or the Prometheus operator attaches to every series.
TARGET_LABELS = frozenset({"namespace", "job", "pod", "instance", "container"})
# Grafana's variables, as a browser would send them. Durations suit a scrape every second.
_VARIABLES = {"$__rate_interval": "10s", "$__range": "1m"}
_CHOICE = re.compile(r"\$(namespace|job|pod|model)\b")


@dataclass(frozen=True)
class Selector:
    """One `metric{...}` of an expression. `matchers`: (label, operator, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def substituted(expr: str) -> str:
    """Return a dashboard's expression as Grafana sends it with "All" chosen everywhere."""
    for variable, value in _VARIABLES.items():
        expr = expr.replace(variable, value)
    expr = _CHOICE.sub(".*", expr)
    assert "$" not in expr, f"a variable without a value: {expr}"
    return expr


def selectors(expr: str) -> list[Selector]:
    found = []
    for node in _nodes(expr):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple(
                (each.name, _sign(each.op), each.value)
                for each in node.matchers.matchers
                if each.name != "__name__"
            )
            assert node.name is not None, f"a selector without a name: {expr}"
            found.append(Selector(node.name, matchers))
    return found


def kept_labels(expr: str) -> set[str]:
    """Return every label of a `by` or an `on`."""
    kept: set[str] = set()
    for node in _nodes(expr):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            kept |= set(modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and modifier is not None:
            matching = modifier.matching
            kept |= set(matching.labels) if matching is not None else set()
    return kept


def _nodes(expr: str) -> Iterator[promql_parser.Expr]:
    nodes: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(expr), pre_visit=nodes.append)
    yield from nodes


def _sign(operator: MatchOp) -> str:
    # The enumeration of the library is not hashable.
    signs = (
        (MatchOp.Equal, "="),
        (MatchOp.NotEqual, "!="),
        (MatchOp.Re, "=~"),
        (MatchOp.NotRe, "!~"),
    )
    return next(sign for each, sign in signs if each == operator)
