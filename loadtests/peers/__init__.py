"""Mintmark beside other servers of the same pipeline: same weights, arrivals and machine."""
