"""Retraining: when, on which rows, and what becomes of the result. See docs/retraining.md."""
