"""Runners of the one graph. They hold no maths: every step is a verb of `tideline` or a stage of dvc.yaml."""
