"""Model families: one file each, exposing `SPEC`. What they share lives in `families`."""
