"""Experiments: one simulation, training a pool; each returns plain data that `reports` renders."""
