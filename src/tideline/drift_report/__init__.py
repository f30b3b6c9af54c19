"""Evidently's view of a window: a page, and a run in the workspace of all tasks."""
