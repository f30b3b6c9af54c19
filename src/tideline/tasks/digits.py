"""Handwritten digits of 8x8 pixels, as scikit-learn ships them (classification; needs no download)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tideline.contracts import Block, Column, Slice, Source, Split, Step, Task

if TYPE_CHECKING:
    import pandas as pd

PIXELS = tuple(f"pixel_{i}" for i in range(64))
DIGITS = tuple("0123456789")


def load() -> pd.DataFrame:
    """1,797 rows: pixel_0 to pixel_63 (row by row, 0 to 16) and the digit."""
    import pandas as pd
    from sklearn.datasets import load_digits

    digits = load_digits()
    return pd.DataFrame(digits.data, columns=list(PIXELS)).assign(digit=digits.target.astype(str))


TASK = Task(
    name="digits",
    title="Handwritten digits, 8x8",
    problem="classification",
    source=Source(load=load, licence="CC BY 4.0 (UCI; Alpaydin & Kaynak 1998)"),
    columns=tuple(
        Column(name, "integer", 0, 16, unit="ink", description=f"Ink in row {i // 8}, column {i % 8}")
        for i, name in enumerate(PIXELS)
    ),
    target=Column("digit", "category", categories=DIGITS, description="The digit that was written"),
    classes=DIGITS,
    split=Split("stratified", by=("digit",), test_size=0.2, seed=42),
    features=(Block("pixels", PIXELS, (Step("passthrough"),)),),
    slices=(Slice("digit", "digit"),),
    rows=(1_000, 2**62),
)
