"""Trace context is read as the standard says, and nothing else is believed."""

from __future__ import annotations

import pytest

from service.telemetry.trace_context import Parent, continue_trace, parse_parent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("traceparent", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f" 00-{TRACE}-{SPAN}-01\t", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_parent_is_read(traceparent, is_sampled):
    assert parse_parent([traceparent]) == Parent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}0-{SPAN}-01",
    ],
)
def test_what_is_no_parent_is_none(traceparent):
    assert parse_parent([traceparent]) is None


def test_none_or_two_parents_are_none():
    assert parse_parent([]) is None
    assert parse_parent([f"00-{TRACE}-{SPAN}-01"] * 2) is None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1", " b=2 ,, c@d=3"], "a=1,b=2,c@d=3"),
        (["a"], ""),
        (["A=1"], ""),
        (["a=1\x7f"], ""),
        (["a=" + "x" * 257], ""),
        ([",".join(f"k{i}=1" for i in range(33))], ""),
        (["a=" + "x" * 250 + ",b=" + "y" * 250 + ",c=" + "z" * 50], ""),
    ],
)
def test_the_state_is_passed_on_whole_or_not_at_all(values, state):
    parent = parse_parent([f"00-{TRACE}-{SPAN}-01"], values)
    assert parent is not None
    assert parent.state == state


def test_a_trace_is_continued_as_its_caller_decided():
    for is_sampled in (True, False):
        parent = Parent(TRACE, SPAN, is_sampled)
        context = continue_trace(parent, 1.0 - is_sampled)
        assert (context.trace_id, context.is_sampled, context.parent) == (TRACE, is_sampled, parent)
        assert len(context.span_id) == 16
        assert context.span_id != SPAN


def test_a_fresh_trace_is_kept_at_the_ratio():
    def count(ratio):
        return sum(continue_trace(None, ratio).is_sampled for _ in range(2000))

    assert count(0.0) == 0
    assert count(1.0) == 2000
    assert 300 < count(0.25) < 700
    assert len({continue_trace(None, 1.0).trace_id for _ in range(100)}) == 100
