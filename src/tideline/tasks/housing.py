"""California housing, 1990 census: the median house value of a block group (regression)."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from tideline.contracts import Block, Column, Slice, Source, Split, Step, Task

if TYPE_CHECKING:
    import pandas as pd

OCEAN_PROXIMITY = ("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN")
CAP = 500_001.0


def read(path: Path) -> pd.DataFrame:
    """The published CSV as it is."""
    import pandas as pd

    return pd.read_csv(path)


COLUMNS = (
    Column("longitude", "number", -125, -113, unit="degrees east", description="Longitude of the block group's centre"),
    Column("latitude", "number", 32, 43, unit="degrees north", description="Latitude of the block group's centre"),
    Column("housing_median_age", "integer", 0, 100, unit="years", description="Median age of the houses, at most 52"),
    Column("total_rooms", "integer", 1, 100_000, unit="rooms", description="Rooms"),
    Column("total_bedrooms", "integer", 1, 50_000, missing=0.05, unit="rooms", description="Bedrooms"),
    Column("population", "integer", 1, 100_000, unit="people", description="People living in the block group"),
    Column("households", "integer", 1, 50_000, unit="households", description="Households in the block group"),
    Column("median_income", "number", 0.4999, 15.0001, unit="10,000 USD of 1990",
           description="Median income of the households, held between 0.4999 and 15.0001"),
    Column("ocean_proximity", "category", categories=OCEAN_PROXIMITY, description="Where it lies to the sea"),
)  # fmt: skip

COUNTS = ("total_rooms", "total_bedrooms", "population", "households")
RATIOS = {
    "rooms_per_household": ["total_rooms", "households"],
    "bedrooms_per_room": ["total_bedrooms", "total_rooms"],
    "people_per_household": ["population", "households"],
    "bedrooms_per_household": ["total_bedrooms", "households"],
    "rooms_per_person": ["total_rooms", "population"],
    "income_per_person": [["median_income", "households"], "population"],
    "income_times_rooms": [["median_income", "total_rooms"], "households"],
    "income_per_bedroom_share": [["median_income", "total_rooms"], "total_bedrooms"],
}
AROUND = ("longitude", "latitude", "housing_median_age", *COUNTS, "median_income")
NEIGHBOURS = Step(
    "neighbours",
    {
        "coordinates": {"longitude": 89.0, "latitude": 111.2},  # km per degree at 37 degrees north
        "per": "median_income",
        "similar": {
            "median_income": 0.25,
            "rooms_per_household": 0.25,
            "people_per_household": 0.3,
            "housing_median_age": 12.0,
            "bedrooms_per_room": 0.25,
            "population": 3.0,
        },
        "keep": True,
        "logged": ["median_income", "rooms_per_household", "people_per_household", "bedrooms_per_room", "population"],
    },
)

TASK = Task(
    name="housing",
    title="California housing, 1990 census",
    problem="regression",
    source=Source(
        filename="housing.csv",
        urls=("https://github.com/ageron/data/raw/main/housing.tgz",),
        member="housing/housing.csv",
        sha256=("8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e",),
        read=read,
        simulate="housing",
        licence="public domain (US census 1990; Pace & Barry 1997)",
    ),
    columns=COLUMNS,
    target=Column(
        "median_house_value", "number", 0, CAP, unit="USD", description="Median house value, held at 500,001 and below"
    ),
    split=Split("stratified", by=("median_income",), bins=(0, 1.5, 3.0, 4.5, 6.0, inf), test_size=0.2, seed=42),
    features=(
        Block("counts", COUNTS, (Step("impute_median"), Step("log"))),
        Block("around", AROUND, (Step("impute_median"), Step("ratios", {"ratios": RATIOS, "keep": True}), NEIGHBOURS)),
        Block("sea", ("ocean_proximity",), (Step("one_hot"),)),
    ),
    slices=(
        Slice("ocean_proximity", "ocean_proximity"),
        Slice(
            "income",
            "median_income",
            bins=(0, 1.5, 3.0, 4.5, 6.0, inf),
            labels=("up to 15k", "15k to 30k", "30k to 45k", "45k to 60k", "over 60k"),
        ),
        Slice("price cap", "median_house_value", bins=(-inf, CAP - 1, inf), labels=("below the cap", "at the cap")),
        Slice("region", "latitude", bins=(-inf, 35.0, 37.0, inf), labels=("south", "centre", "north")),
    ),
    rows=(1_000, 2**62),
    clip=(0.0, CAP),
    map=("longitude", "latitude"),
)
