"""What the housing simulator knows: published figures of the 1990 census data, and where Californians live.

Sources: the summary statistics and counts printed in A. Géron, Hands-On Machine Learning (chapter 2), and
plain geography. No row of the real data was read to write this file.
"""

from __future__ import annotations

from typing import NamedTuple

ROWS = 20_640
CATEGORY_COUNTS = {"<1H OCEAN": 9136, "INLAND": 6551, "NEAR OCEAN": 2658, "NEAR BAY": 2290, "ISLAND": 5}
MISSING_BEDROOMS = 207 / ROWS
INCOME_LIMITS = (0.4999, 15.0001)
VALUE_CAP = 500_001.0
AGE_CAP = 52.0

QUARTILES = {
    "longitude": (-121.80, -118.49, -118.01),
    "latitude": (33.93, 34.26, 37.71),
    "housing_median_age": (18.0, 29.0, 37.0),
    "total_rooms": (1447.75, 2127.0, 3148.0),
    "total_bedrooms": (296.0, 435.0, 647.0),
    "population": (787.0, 1166.0, 1725.0),
    "households": (280.0, 409.0, 605.0),
    "median_income": (2.5634, 3.5348, 4.74325),
    "median_house_value": (119_600.0, 179_700.0, 264_725.0),
}
LIMITS = {
    "longitude": (-124.35, -114.31),
    "latitude": (32.54, 41.95),
    "housing_median_age": (1.0, AGE_CAP),
    "total_rooms": (2.0, 39_320.0),
    "total_bedrooms": (1.0, 6_445.0),
    "population": (3.0, 35_682.0),
    "households": (1.0, 6_082.0),
    "median_income": INCOME_LIMITS,
    "median_house_value": (14_999.0, VALUE_CAP),
}
CORRELATIONS = {
    "median_income": 0.687,
    "rooms_per_household": 0.199,
    "total_rooms": 0.135,
    "housing_median_age": 0.114,
    "households": 0.065,
    "total_bedrooms": 0.048,
    "population_per_household": -0.022,
    "population": -0.027,
    "longitude": -0.047,
    "latitude": -0.143,
    "bedrooms_per_room": -0.260,
}

# Tails outside the quartiles: standard normal scores and values there. The caps hold 4.7 % of the values
# (965 block groups), 6.2 % of the ages and 0.24 % of the incomes.
TAILS = {
    "housing_median_age": ((-3.1, 1.0), (-2.05, 4.0), (-1.28, 13.0), (1.28, 46.0), (1.54, 51.6), (1.55, 53.0)),
    "total_rooms": ((-4.0, 2.0), (-3.1, 60.0), (-2.33, 280.0), (-1.64, 650.0), (1.64, 6_100.0), (2.33, 10_600.0),
                    (3.1, 19_500.0), (4.0, 39_320.0)),
    "total_bedrooms": ((-4.0, 1.0), (-3.1, 15.0), (-2.33, 65.0), (-1.64, 140.0), (1.64, 1_270.0), (2.33, 2_180.0),
                       (3.1, 3_900.0), (4.0, 6_445.0)),
    "population": ((-4.0, 3.0), (-3.1, 25.0), (-2.33, 150.0), (-1.64, 355.0), (1.64, 3_280.0), (2.33, 5_700.0),
                   (3.1, 11_000.0), (4.0, 35_682.0)),
    "households": ((-4.0, 1.0), (-3.1, 13.0), (-2.33, 58.0), (-1.64, 127.0), (1.64, 1_160.0), (2.33, 1_970.0),
                   (3.1, 3_500.0), (4.0, 6_082.0)),
    "median_income": ((-3.2, 0.4999), (-2.33, 1.08), (-1.64, 1.60), (1.64, 7.25), (2.33, 10.5),
                      (2.82, 15.0), (2.83, 15.1)),
    "median_house_value": ((-3.9, 14_999.0), (-2.33, 50_000.0), (-1.64, 66_500.0), (-1.28, 82_500.0), (1.28, 376_000.0),
                           (1.66, 498_000.0), (1.675, 501_000.0)),
}  # fmt: skip


class Place(NamedTuple):
    """A cluster of block groups. Spread in degrees, weight within its category, price and age on a normal scale."""

    longitude: float
    latitude: float
    spread: float
    category: str
    weight: float
    price: float
    age: float


_SHORE, _SEA, _BAY, _LAND = "NEAR OCEAN", "<1H OCEAN", "NEAR BAY", "INLAND"

PLACES = (
    Place(-118.32, 33.34, 0.01, "ISLAND", 1.0, 1.5, 1.0),  # Avalon
    # Los Angeles, Orange, Ventura: within an hour of the sea
    Place(-118.26, 34.05, 0.05, _SEA, 11.0, -0.4, 0.9),  # central Los Angeles
    Place(-118.28, 33.96, 0.06, _SEA, 10.0, -0.9, 0.7),  # south Los Angeles
    Place(-118.14, 34.03, 0.06, _SEA, 8.0, -0.3, 0.6),  # east Los Angeles, Alhambra
    Place(-118.10, 33.93, 0.06, _SEA, 6.0, -0.1, 0.4),  # Downey, Norwalk
    Place(-118.37, 34.06, 0.04, _SEA, 5.0, 1.8, 0.8),  # Beverly Hills, west side
    Place(-118.44, 34.18, 0.07, _SEA, 9.0, 0.5, 0.3),  # San Fernando Valley
    Place(-118.56, 34.21, 0.06, _SEA, 5.0, 0.6, 0.0),  # western valley
    Place(-118.13, 34.16, 0.06, _SEA, 6.0, 0.8, 0.7),  # Pasadena, Glendale
    Place(-117.95, 34.08, 0.08, _SEA, 7.0, -0.2, 0.0),  # San Gabriel Valley
    Place(-117.90, 33.83, 0.07, _SEA, 9.0, 0.3, -0.2),  # Anaheim, Fullerton
    Place(-117.85, 33.73, 0.06, _SEA, 5.0, 0.5, -0.3),  # Santa Ana, Tustin
    Place(-117.70, 33.62, 0.06, _SEA, 3.0, 1.0, -1.1),  # Irvine, Mission Viejo
    Place(-118.85, 34.20, 0.08, _SEA, 3.5, 0.9, -0.7),  # Thousand Oaks
    Place(-119.18, 34.22, 0.07, _SEA, 2.5, 0.3, -0.1),  # Oxnard
    Place(-117.05, 32.76, 0.07, _SEA, 4.0, 0.0, 0.0),  # eastern San Diego
    Place(-117.08, 33.10, 0.09, _SEA, 3.5, 0.2, -0.9),  # Escondido
    Place(-121.90, 37.33, 0.08, _SEA, 10.0, 0.7, -0.1),  # San Jose
    Place(-122.05, 37.38, 0.05, _SEA, 5.0, 1.7, 0.1),  # Palo Alto, Sunnyvale
    Place(-121.95, 37.90, 0.08, _SEA, 1.5, 0.5, -0.2),  # Concord
    Place(-122.55, 38.00, 0.07, _SEA, 2.0, 1.3, 0.2),  # Marin
    Place(-122.72, 38.42, 0.10, _SEA, 3.0, 0.1, -0.2),  # Santa Rosa
    Place(-121.65, 36.68, 0.07, _SEA, 1.3, 0.1, 0.0),  # Salinas
    Place(-120.44, 34.92, 0.12, _SEA, 1.5, -0.3, -0.4),  # Santa Maria
    Place(-123.30, 39.10, 0.25, _SEA, 0.7, -0.6, -0.2),  # Mendocino
    # at the sea
    Place(-117.20, 32.77, 0.04, _SHORE, 9.0, 0.6, 0.4),  # San Diego beaches
    Place(-117.08, 32.64, 0.04, _SHORE, 7.0, -0.4, 0.1),  # Chula Vista
    Place(-117.30, 33.10, 0.07, _SHORE, 6.0, 0.8, -0.8),  # Carlsbad, Oceanside
    Place(-117.75, 33.52, 0.05, _SHORE, 4.0, 1.3, -0.7),  # Laguna, Dana Point
    Place(-117.96, 33.67, 0.05, _SHORE, 8.0, 1.0, -0.1),  # Huntington and Newport Beach
    Place(-118.17, 33.79, 0.04, _SHORE, 9.0, 0.3, 0.6),  # Long Beach
    Place(-118.36, 33.80, 0.04, _SHORE, 8.0, 1.4, 0.2),  # Torrance, Palos Verdes
    Place(-118.47, 34.01, 0.03, _SHORE, 6.0, 1.6, 0.7),  # Santa Monica
    Place(-119.72, 34.43, 0.06, _SHORE, 4.5, 1.0, 0.4),  # Santa Barbara
    Place(-119.24, 34.28, 0.04, _SHORE, 2.5, 0.3, 0.2),  # Ventura
    Place(-120.65, 35.25, 0.12, _SHORE, 3.5, 0.1, -0.3),  # San Luis Obispo
    Place(-121.88, 36.60, 0.06, _SHORE, 3.5, 0.8, 0.3),  # Monterey
    Place(-122.00, 36.97, 0.06, _SHORE, 4.5, 0.9, 0.1),  # Santa Cruz
    Place(-122.47, 37.73, 0.03, _SHORE, 9.0, 1.2, 1.5),  # western San Francisco
    Place(-122.48, 37.62, 0.05, _SHORE, 4.0, 1.0, 0.4),  # Pacifica, Daly City
    Place(-122.80, 38.35, 0.10, _SHORE, 1.2, 0.5, -0.1),  # Sonoma coast
    Place(-123.80, 39.40, 0.10, _SHORE, 0.8, -0.5, 0.3),  # Fort Bragg
    Place(-124.12, 40.82, 0.12, _SHORE, 3.0, -1.3, 0.4),  # Eureka
    Place(-124.18, 41.75, 0.07, _SHORE, 0.8, -1.5, 0.0),  # Crescent City
    # at the bay
    Place(-122.42, 37.77, 0.02, _BAY, 18.0, 1.4, 1.9),  # San Francisco
    Place(-122.24, 37.80, 0.04, _BAY, 22.0, -0.1, 1.5),  # Oakland
    Place(-122.28, 37.87, 0.02, _BAY, 9.0, 0.9, 1.6),  # Berkeley
    Place(-122.34, 37.95, 0.04, _BAY, 9.0, -0.3, 0.8),  # Richmond
    Place(-122.10, 37.67, 0.05, _BAY, 13.0, 0.3, 0.2),  # Hayward
    Place(-121.99, 37.54, 0.05, _BAY, 9.0, 0.9, -0.6),  # Fremont
    Place(-122.31, 37.55, 0.05, _BAY, 13.0, 1.8, 0.6),  # San Mateo
    Place(-122.24, 38.11, 0.04, _BAY, 7.0, -0.4, 0.4),  # Vallejo
    # inland
    Place(-117.37, 33.95, 0.09, _LAND, 9.0, -0.3, -0.4),  # Riverside
    Place(-117.30, 34.12, 0.10, _LAND, 11.0, -0.6, 0.0),  # San Bernardino
    Place(-117.62, 34.08, 0.07, _LAND, 6.0, 0.1, -0.5),  # Ontario, Pomona
    Place(-117.12, 33.58, 0.15, _LAND, 3.0, -0.2, -1.4),  # Temecula, Hemet
    Place(-116.40, 33.78, 0.15, _LAND, 4.0, -0.4, -1.0),  # Palm Springs
    Place(-115.55, 32.80, 0.12, _LAND, 1.8, -1.4, 0.0),  # Imperial Valley
    Place(-117.25, 34.50, 0.12, _LAND, 3.0, -0.9, -1.1),  # Victorville
    Place(-118.13, 34.66, 0.10, _LAND, 3.5, -0.3, -1.3),  # Lancaster, Palmdale
    Place(-116.20, 34.60, 0.70, _LAND, 0.8, -1.5, -0.6),  # the desert
    Place(-119.02, 35.37, 0.10, _LAND, 6.5, -1.1, -0.2),  # Bakersfield
    Place(-119.32, 36.28, 0.16, _LAND, 5.0, -1.3, -0.2),  # Visalia, Tulare
    Place(-119.78, 36.76, 0.10, _LAND, 8.5, -1.1, -0.1),  # Fresno
    Place(-120.50, 37.25, 0.16, _LAND, 3.0, -1.1, -0.3),  # Merced
    Place(-120.98, 37.64, 0.09, _LAND, 5.5, -0.7, -0.3),  # Modesto
    Place(-121.29, 37.96, 0.09, _LAND, 6.0, -0.7, -0.1),  # Stockton
    Place(-121.42, 38.57, 0.10, _LAND, 13.0, -0.6, -0.2),  # Sacramento
    Place(-121.20, 38.70, 0.10, _LAND, 5.0, 0.1, -1.0),  # Folsom, Roseville
    Place(-121.80, 38.00, 0.08, _LAND, 2.5, 0.0, -0.6),  # Antioch
    Place(-121.90, 37.72, 0.07, _LAND, 2.5, 1.1, -0.9),  # Livermore, Danville
    Place(-122.02, 38.28, 0.09, _LAND, 2.5, -0.3, -0.8),  # Fairfield
    Place(-120.90, 38.90, 0.30, _LAND, 4.0, -0.4, -1.0),  # the foothills
    Place(-121.70, 39.35, 0.25, _LAND, 4.0, -1.2, -0.2),  # Yuba City, Chico
    Place(-122.37, 40.57, 0.20, _LAND, 2.6, -1.2, -0.5),  # Redding
    Place(-121.20, 40.90, 0.60, _LAND, 1.3, -1.7, 0.0),  # the north-east
)
