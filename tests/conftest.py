"""What every test relies on: double precision, and properties with the same examples each run."""

import hypothesis

import zl

zl.enable_x64()
hypothesis.settings.register_profile("zl", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("zl")
