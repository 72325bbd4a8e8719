"""Trajectories: executed plans as data. Reading, writing, checking, converting; the format is `catp.trajectory/1`."""
