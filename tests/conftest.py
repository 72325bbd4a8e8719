"""What holds for every test: plans are made by search unless a test says otherwise, and nobody loads a model for it.

Libraries compute in one thread: tests run on every core already, and sums then have one order. Hypothesis draws the
same examples each time and holds no slow machine against a test: what fails here fails everywhere.
"""

import os

from hypothesis import HealthCheck, settings

os.environ["CATP_PLANNER"] = "search"  # before any test module makes an agent; programs that tests start inherit it
os.environ["OMP_NUM_THREADS"] = "1"  # before anything loads numpy or torch
os.environ["CATP_ENGINE"] = "off"  # an engine of the user who runs the tests is none of their business

settings.register_profile("catp", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("catp")
