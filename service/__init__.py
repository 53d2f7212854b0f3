"""Mintmark's service: everything that is not tensor work."""
