"""What stops these programs before they begin."""

from __future__ import annotations


class GeoError(Exception):
    """One sentence about what the caller has to change."""
