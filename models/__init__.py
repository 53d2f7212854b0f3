"""Tensor work only: models, schedules, runners. Imports nothing of `service` and no web library."""
