"""Servers that can be put under load, by transport."""
