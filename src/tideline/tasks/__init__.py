"""Datasets: one file each, exposing `TASK`."""
