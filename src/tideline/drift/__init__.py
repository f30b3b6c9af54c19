"""Drift statistics: one file each, exposing `SPEC`."""
