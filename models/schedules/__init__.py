"""Noise schedules and solvers, compiled ahead into tables of coefficients (stop 5)."""
