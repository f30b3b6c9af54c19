"""Ways to tell somebody: one file each, exposing `SPEC`."""
