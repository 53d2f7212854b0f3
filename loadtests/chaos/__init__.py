"""Breaks things under a running server while clients ask, and holds it to its promises."""

from __future__ import annotations
