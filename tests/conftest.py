"""What holds for every test: plans are made by search unless a test says otherwise, and nobody loads a model for it."""

import os

os.environ["CATP_PLANNER"] = "search"  # before any test module makes an agent; programs that tests start inherit it
os.environ["CATP_ENGINE"] = "off"  # an engine of the user who runs the tests is none of their business
