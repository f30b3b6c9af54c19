"""Simulates housing data of any length, calibrated to the published facts of the census, in bounded memory.

Places come from a mixture of California's towns; income, age and price depend on the place (its level and a
smooth local field) and on each other through normal latents, whose ranks are mapped onto the published
marginals. Rows are made in blocks of fixed size, each with its own seed, so that they do not depend on how
many are asked for, or on how they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tideline.contracts import TidelineError
from tideline.progress import Bar
from tideline.simulator_facts import (
    CATEGORY_COUNTS,
    INCOME_LIMITS,
    LIMITS,
    MISSING_BEDROOMS,
    PLACES,
    QUARTILES,
    TAILS,
    VALUE_CAP,
)

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, np.ndarray]

BLOCK = 65_536  # rows made at once
CHUNK = 250_000  # rows of a row group, written at once
PILOT_ROWS, PILOT_SEED = 200_000, 1990
WAVES, WAVES_SEED = 24, 1990
QUARTILE_SCORES = (-0.6744897501960817, 0.0, 0.6744897501960817)
INSTITUTIONS = 0.004  # share of block groups with barracks, prisons, dormitories: many people, few households
NEW_CATEGORY = "LAKESIDE"

# Loadings of the latents, found by least squares on the published correlations with the target.
PRICE = {
    "place": 0.54, "sea": 1.06, "income": 0.93, "rooms": -0.02, "beds": -0.34, "size": 0.17, "people": -0.33,
    "age": 0.21,
}  # fmt: skip
NOISE = 0.45

NAMES = (
    "longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households",
    "median_income", "ocean_proximity", "median_house_value",
)  # fmt: skip


def simulate(name: str, rows: int, seed: int, scenario: str, path: Path, chunk: int = CHUNK) -> None:
    """Write `rows` rows of a simulator (by name; there is "housing") to a Parquet file, `chunk` rows at a time.

    The same arguments give the same bytes; the same seed gives the same rows whatever the chunk, and the
    first rows of a longer file. Raises TidelineError for an unknown simulator or scenario, or rows < 1.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name != "housing":
        raise TidelineError(f"there is no simulator {name!r}; known: housing")
    if rows < 1 or chunk < 1:
        raise TidelineError(f"asked for {rows} rows in chunks of {chunk}; both must be at least 1")
    schema = pa.schema([(n, pa.string() if n == "ocean_proximity" else pa.float64()) for n in NAMES])
    fresh = path.with_name(f".{path.name}.part")
    fresh.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pq.ParquetWriter(fresh, schema) as writer, Bar(rows, "simulate (rows)") as bar:
            for part in _regroup(make_blocks(rows, seed, scenario), chunk):
                columns = [pa.array(part[field.name], type=field.type, from_pandas=True) for field in schema]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=chunk)
                bar.update(len(part["longitude"]))
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def make_frame(rows: int, seed: int, scenario: str = "none") -> pd.DataFrame:
    """The same rows as a frame in memory."""
    import pandas as pd

    parts = [pd.DataFrame(block) for block in make_blocks(rows, seed, scenario)]
    return pd.concat(parts, ignore_index=True).astype({"ocean_proximity": "str"})


def make_blocks(rows: int, seed: int, scenario: str) -> Iterator[Columns]:
    """Blocks of at most BLOCK rows, as columns in the order of NAMES; total_bedrooms is NaN where missing."""
    change = get_scenario(scenario)
    for number, start in enumerate(range(0, rows, BLOCK)):
        rng = np.random.default_rng([seed, number])
        block = _make_block(rng, north=scenario == "north")
        change(block, rng)
        yield {name: block[name][: rows - start] for name in NAMES}


def get_scenario(name: str) -> Callable[[Columns, np.random.Generator], None]:
    """What a scenario changes in a block of rows, in place; raises TidelineError for an unknown name."""
    if name not in SCENARIOS:
        raise TidelineError(f"there is no scenario {name!r}; known: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _regroup(blocks: Iterator[Columns], chunk: int) -> Iterator[Columns]:
    held: list[Columns] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block["longitude"])
        while count >= chunk:
            joined = {name: np.concatenate([part[name] for part in held]) for name in NAMES}
            yield {name: values[:chunk] for name, values in joined.items()}
            held, count = [{name: values[chunk:] for name, values in joined.items()}], count - chunk
    if count:
        yield {name: np.concatenate([part[name] for part in held]) for name in NAMES}


def _make_block(rng: np.random.Generator, north: bool) -> Columns:
    latent = _draw_latents(rng, BLOCK, north)
    ranks = _pilot_ranks()
    block: Columns = {"longitude": latent["longitude"], "latitude": latent["latitude"]}
    for column in TAILS:
        block[column] = _quantile(column, np.interp(latent[column], *ranks[column]))
    crowded = rng.random(BLOCK) < INSTITUTIONS
    factor = np.where(crowded, np.exp(rng.uniform(np.log(3.0), np.log(300.0), BLOCK)), 1.0)
    for column in ("total_rooms", "total_bedrooms", "households"):
        block[column] = block[column] / factor
    for column in ("housing_median_age", "total_rooms", "total_bedrooms", "population", "households"):
        block[column] = np.clip(np.round(block[column]), *LIMITS[column])
    block["total_bedrooms"] = np.minimum(block["total_bedrooms"], block["total_rooms"])
    block["total_bedrooms"][rng.random(BLOCK) < MISSING_BEDROOMS] = np.nan
    block["median_income"] = np.clip(np.round(block["median_income"], 4), *INCOME_LIMITS)
    value = np.round(block["median_house_value"], -2)
    block["median_house_value"] = np.where(value > 500_000, VALUE_CAP, np.maximum(value, 14_999.0))
    block["ocean_proximity"] = latent["ocean_proximity"]
    return block


def _draw_latents(rng: np.random.Generator, n: int, north: bool) -> Columns:
    """Coordinates, category and one unmapped latent a column, each (n,)."""
    table = _places()
    weight = table["weight"] * np.where(table["latitude"] > 36.0, 3.0, 1.0) if north else table["weight"]
    place = np.searchsorted(np.cumsum(weight / weight.sum()), rng.random(n), side="right").clip(max=len(weight) - 1)
    # Heavier than normal: towns have a core and outskirts.
    reach = table["spread"][place] * (0.6 + rng.exponential(0.5, n))
    longitude = np.clip(np.round(table["longitude"][place] + reach * rng.standard_normal(n), 2), *LIMITS["longitude"])
    latitude = np.clip(
        np.round(table["latitude"][place] + 0.8 * reach * rng.standard_normal(n), 2), *LIMITS["latitude"]
    )
    local = _field(longitude, latitude)
    level = (0.9 * table["price"][place] + 0.45 * local) / 1.05
    size, rooms, people, beds, age, income, noise = rng.standard_normal((7, n))
    age = 0.45 * table["age"][place] + 0.8 * age
    size = 0.94 * size - 0.33 * age
    income = 0.33 * level + 0.9 * income - 0.14 * age
    rooms = 0.9 * rooms + 0.4 * income - 0.15 * age
    people = 0.97 * people - 0.12 * level - 0.1 * age
    factors = {
        "place": level, "sea": table["category"][place] != "INLAND", "income": income, "rooms": rooms,
        "beds": beds, "size": size, "people": people, "age": age,
    }  # fmt: skip
    price = NOISE * noise + sum(PRICE[name] * values for name, values in factors.items())
    return {
        "longitude": longitude,
        "latitude": latitude,
        "ocean_proximity": table["category"][place],
        "housing_median_age": age,
        "total_rooms": 0.92 * size + 0.39 * rooms,
        "total_bedrooms": 0.98 * size + 0.10 * rooms + 0.15 * beds,
        "population": 0.925 * size + 0.37 * people,
        "households": size,
        "median_income": income,
        "median_house_value": price,
    }


@cache
def _places() -> Mapping[str, np.ndarray]:
    """The table of places as arrays; weights are shares of all rows, so that categories have their published shares."""
    total = {category: sum(p.weight for p in PLACES if p.category == category) for category in CATEGORY_COUNTS}
    rows = sum(CATEGORY_COUNTS.values())
    table = {name: np.array([getattr(p, name) for p in PLACES]) for name in PLACES[0]._fields if name != "category"}
    table["category"] = np.array([p.category for p in PLACES], dtype=object)
    table["weight"] = np.array([p.weight / total[p.category] * CATEGORY_COUNTS[p.category] / rows for p in PLACES])
    return table


def _field(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """A smooth, fixed surface of about unit variance: neighbourhoods of 5 to 60 km that are dear or cheap."""
    rng = np.random.default_rng(WAVES_SEED)
    length = np.exp(rng.uniform(np.log(0.05), np.log(0.6), WAVES))  # degrees
    angle, phase = rng.uniform(0, 2 * np.pi, (2, WAVES))
    total = np.zeros(len(longitude))
    for k in range(WAVES):
        along = longitude * np.cos(angle[k]) + latitude * np.sin(angle[k])
        total += np.cos(2 * np.pi * along / length[k] + phase[k])
    return np.asarray(total * np.sqrt(2.0 / WAVES))


def _quantile(column: str, score: np.ndarray) -> np.ndarray:
    """Values at standard normal scores, by the published quartiles and the tails; log-linear in between."""
    knots = sorted([*zip(QUARTILE_SCORES, QUARTILES[column], strict=True), *TAILS[column]])
    scores, values = np.array(knots).T
    if column == "housing_median_age":
        return np.asarray(np.interp(score, scores, values))
    return np.asarray(np.exp(np.interp(score, scores, np.log(values))))


@cache
def _pilot_ranks() -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """For each column a table from its latent to the standard normal score of its rank, from a fixed pilot sample."""
    from scipy.special import ndtri

    pilot = _draw_latents(np.random.default_rng(PILOT_SEED), PILOT_ROWS, north=False)
    share = np.concatenate([[1e-5, 1e-4, 5e-4, 2e-3], np.linspace(0.005, 0.995, 199), [0.998, 0.9995, 0.9999, 0.99999]])
    return {column: (np.quantile(pilot[column], share), ndtri(share)) for column in TAILS}


def _keep(block: Columns, rng: np.random.Generator) -> None:
    """The census as published."""


def _inflate(block: Columns, rng: np.random.Generator) -> None:
    """Incomes rise by 25 %, prices by 35 %; the form's caps stay."""
    block["median_income"] = np.clip(np.round(block["median_income"] * 1.25, 4), *INCOME_LIMITS)
    block["median_house_value"] = np.minimum(np.round(block["median_house_value"] * 1.35, -2), VALUE_CAP)


def _add_category(block: Columns, rng: np.random.Generator) -> None:
    """One inland block group in eight is now called LAKESIDE."""
    chosen = (block["ocean_proximity"] == "INLAND") & (rng.random(BLOCK) < 0.125)
    block["ocean_proximity"] = np.where(chosen, NEW_CATEGORY, block["ocean_proximity"])


def _break_sensor(block: Columns, rng: np.random.Generator) -> None:
    """Population sticks at one value in 40 % of the rows, and total_bedrooms is missing in 30 %."""
    block["population"] = np.where(rng.random(BLOCK) < 0.4, QUARTILES["population"][1], block["population"])
    block["total_bedrooms"] = np.where(rng.random(BLOCK) < 0.3, np.nan, block["total_bedrooms"])


SCENARIOS: Mapping[str, Callable[[Columns, np.random.Generator], None]] = {
    "none": _keep,
    "inflation": _inflate,
    "new_category": _add_category,
    "broken_sensor": _break_sensor,
    "north": _keep,  # the population moves: places north of 36 degrees weigh three times as much
}
