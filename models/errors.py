"""What models and runners may raise, for the engine to map once at its boundary."""

from __future__ import annotations


class ModelError(Exception):
    """Base of every error of this package a caller may want to handle."""


class ModelOutOfMemory(ModelError):
    """The device has too little memory for this call; nothing was changed."""
