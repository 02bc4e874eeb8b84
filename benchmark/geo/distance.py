"""How far people are from nodes, in kilometres and in milliseconds."""

from __future__ import annotations

import dataclasses
import math

EARTH_RADIUS_KM = 6371.0


def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Along the great circle, of two points in degrees (haversine)."""
    phi, other_phi = math.radians(lat), math.radians(other_lat)
    half_lat = math.sin((other_phi - phi) / 2)
    half_lon = math.sin(math.radians(other_lon - lon) / 2)
    chord = half_lat**2 + math.cos(phi) * math.cos(other_phi) * half_lon**2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


@dataclasses.dataclass(frozen=True)
class RoundTrip:
    """The round trip that a distance is worth.

    Light in fibre needs 10 ms for 1,000 km and back, and cables are about half as long again as the great circle.
    """

    ms_per_1000_km: float = 15.0
    base_ms: float = 5.0

    def ms(self, kilometres: float) -> float:
        return self.base_ms + self.ms_per_1000_km * kilometres / 1000
