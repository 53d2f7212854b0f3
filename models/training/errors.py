"""What stops a training command."""

from __future__ import annotations


class TrainingError(Exception):
    """A stage cannot go on. The message says what is wrong and what to do next."""
