"""Which request goes first, and how much fits in a step: pure functions on frozen views.

protocol       what policies see and say; base: what they share; registry: all of them by name
fcfs, shortest, deadlines, moore_hodgson (the default), annealing, bins        orders
feasible, fairness, guard        around another policy: the late ones, tenants, its time limit
costmodel, fitting       how long steps and requests take, and how that is learned from a log
length, drift            how many tokens a request will generate, and when not to believe it
budget                   how many tokens a step may have
"""

__all__: list[str] = []
