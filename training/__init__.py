"""Trajectories, CATP-Bench, evaluation and (soon) learning.

data/       the trajectory format: read, write, check, split, convert
bench/      CATP-Bench: tasks, inputs with known answers, plans really run
sim/        catp-sim: a seeded simulator with an exact oracle
evaluate/   regret, Pareto fronts, off-policy estimates
baselines/  planners and choosers to beat
cli/        `catp data` and `catp bench`
"""

__all__: list[str] = []
