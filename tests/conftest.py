"""What holds for every test: plans are made by search unless a test says otherwise, and nobody loads a model for it.

Libraries compute in one thread: tests run on every core already, and sums then have one order.
"""

import os

os.environ["CATP_PLANNER"] = "search"  # before any test module makes an agent; programs that tests start inherit it
os.environ["OMP_NUM_THREADS"] = "1"  # before anything loads numpy or torch
os.environ["CATP_ENGINE"] = "off"  # an engine of the user who runs the tests is none of their business
