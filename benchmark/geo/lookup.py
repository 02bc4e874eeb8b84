"""Where the user of a prompt lives, from the file that prepare_wildchat.py writes."""

from __future__ import annotations

import pathlib
from typing import Any

from errors import GeoError
from nodes import read_json
from places import DEFAULT, Place

NO_FILE = "none"
FIELDS = {"lat", "lon", "country", "state"}


class Lookup:
    """Places by key; whoever is not in it is at the default place."""

    def __init__(self, places: dict[str, Place]) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def find(self, key: str) -> tuple[Place, bool]:
        """The place, and whether it was known."""
        found = self.places.get(key)
        return (DEFAULT, False) if found is None else (found, True)


def read_lookup(name: str) -> Lookup:
    """`name` "none": nobody is known. Errors: GeoError."""
    if name == NO_FILE:
        return Lookup({})
    path = pathlib.Path(name)
    if not path.exists():
        raise GeoError(
            f"there is no lookup file {path}: write it with prepare_wildchat.py, "
            f"or say --lookup-file {NO_FILE} to put everybody at the default place"
        )
    rows = read_json(path, "lookup file")
    if not isinstance(rows, dict):
        raise GeoError(f"the lookup file {path} is no JSON object")
    return Lookup({key: _place(row, f"{key!r} of {path}") for key, row in rows.items()})


def _place(row: Any, where: str) -> Place:
    if not isinstance(row, dict) or set(row) != FIELDS:
        raise GeoError(f"{where} must have lat, lon, country and state, and nothing else")
    lat, lon = row["lat"], row["lon"]
    for value, most in ((lat, 90), (lon, 180)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -most <= value <= most:
            raise GeoError(f"{where}: {value!r} is no latitude or longitude in degrees")
    for name in (row["country"], row["state"]):
        if name is not None and not isinstance(name, str):
            raise GeoError(f"{where}: {name!r} is no name of a country or state")
    return Place(float(lat), float(lon), row["country"], row["state"])
