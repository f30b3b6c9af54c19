"""Capital Bikeshare, hourly rentals 2011-2012: trained on 2011, tested on 2012 (regression in time order)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tideline.contracts import Block, Column, Slice, Source, Split, Step, Task

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path) -> pd.DataFrame:
    """The CSV with `dteday` (M/D/YYYY or YYYY-MM-DD) as days since 1970-01-01.

    Raises ValueError if a date is in neither form.
    """
    import pandas as pd

    frame = pd.read_csv(path, dtype={"dteday": str})
    return frame.assign(dteday=parse_days(frame["dteday"]))


def parse_days(text: pd.Series) -> pd.Series:
    """Days since 1970-01-01, float64, of dates written M/D/YYYY or YYYY-MM-DD; an empty one is missing."""
    import pandas as pd

    american = text.str.contains("/", na=False)
    dates = pd.to_datetime(text.where(~american), format="%Y-%m-%d").fillna(
        pd.to_datetime(text.where(american), format="%m/%d/%Y")
    )
    return (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)


def _days(day: str) -> float:
    return float((date.fromisoformat(day) - date(1970, 1, 1)).days)


TASK = Task(
    name="bikes",
    title="Capital Bikeshare, rentals by the hour",
    problem="regression",
    source=Source(
        filename="bikes_hour.csv",
        urls=("https://archive.ics.uci.edu/static/public/275/bike+sharing+dataset.zip",),
        member="hour.csv",
        sha256=(
            "462d1c779b4d3825c35555e6dffa3063cc0d66b89feeffcaa5093cd475e4a1c3",  # dates M/D/YYYY, four decimals
            "e03de4ee4ef4dc376ac6e04bf829673c6269e8eba5c60fa121640fa2f829504f",  # hour.csv of the archive, YYYY-MM-DD
        ),
        read=read,
        licence="CC BY 4.0 (UCI; Fanaee-T & Gama 2013)",
    ),
    columns=(
        Column("dteday", "date", _days("2010-01-01"), _days("2030-12-31"), description="Day"),
        Column("hr", "integer", 0, 23, unit="hours", description="Hour of the day"),
        Column("season", "integer", 1, 4, description="1 winter, 2 spring, 3 summer, 4 autumn"),
        Column("mnth", "integer", 1, 12, description="Month"),
        Column("holiday", "integer", 0, 1, description="1 on a public holiday"),
        Column("weekday", "integer", 0, 6, description="Day of the week, 0 is Sunday"),
        Column("workingday", "integer", 0, 1, description="1 on neither a weekend nor a holiday"),
        Column("weathersit", "integer", 1, 4, description="Weather from 1 (clear) to 4 (heavy rain or snow)"),
        Column("temp", "number", 0, 1, description="Temperature, (t + 8) / 47 with t in degrees Celsius"),
        Column("atemp", "number", 0, 1, description="Felt temperature, (t + 16) / 66 with t in degrees Celsius"),
        Column("hum", "number", 0, 1, description="Relative humidity"),
        Column("windspeed", "number", 0, 1, description="Wind speed, divided by 67 km/h"),
    ),
    target=Column("cnt", "integer", 0, 2_000, unit="rentals", description="Bikes rented in this hour"),
    split=Split("time", by=("dteday",), cut="2012-01-01"),
    features=(
        Block("date", ("dteday",), (Step("date_parts"),)),
        Block(
            "rest",
            (
                "hr",
                "season",
                "mnth",
                "holiday",
                "weekday",
                "workingday",
                "weathersit",
                "temp",
                "atemp",
                "hum",
                "windspeed",
            ),
            (Step("impute_median"),),
        ),
    ),
    dropped={
        "instant": "number of the row: it only counts time",
        "yr": "constant in the training rows (2011), so nothing can be learnt from it",
        "casual": "casual + registered = cnt: it holds the answer",
        "registered": "casual + registered = cnt: it holds the answer",
    },
    slices=(
        Slice("season", "season"),
        Slice("working day", "workingday"),
        Slice(
            "hour", "hr", bins=(-1, 6, 10, 16, 20, 23), labels=("0 to 6", "7 to 10", "11 to 16", "17 to 20", "21 to 23")
        ),
        Slice("weather", "weathersit"),
    ),
    rows=(1_000, 2**62),
    clip=(0.0, 2_000.0),
)
