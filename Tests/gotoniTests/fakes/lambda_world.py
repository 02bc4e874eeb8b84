"""What the fake of Lambda's cloud has to let: regions, instance types, images, and where there is capacity at first."""

from __future__ import annotations

import dataclasses
from typing import Any

REGIONS = {
    "us-west-1": "California, USA",
    "us-west-2": "Arizona, USA",
    "us-west-3": "Utah, USA",
    "us-east-1": "Virginia, USA",
    "us-east-2": "New York, USA",
    "us-east-3": "Washington DC, USA",
    "us-midwest-1": "Illinois, USA",
    "us-midwest-2": "Ohio, USA",
    "us-south-1": "Texas, USA",
    "us-south-2": "North Texas, USA",
    "us-south-3": "Central Texas, USA",
    "europe-central-1": "Germany",
    "asia-south-1": "India",
    "asia-northeast-1": "Osaka, Japan",
    "asia-northeast-2": "Tokyo, Japan",
    "australia-east-1": "Sydney, Australia",
    "me-west-1": "Israel",
}
# Lambda: "Firewall rules do not apply to the us-south-1 region."
WITHOUT_FIREWALL = "us-south-1"


def region(name: str) -> dict[str, str]:
    return {"name": name, "description": REGIONS[name]}


@dataclasses.dataclass(frozen=True)
class Type:
    name: str
    gpu: str
    cents: int
    vcpus: int
    memory: int
    storage: int
    gpus: int = 1
    architecture: str = "x86_64"

    def shown(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": f"{self.gpus}x {self.gpu}",
            "gpu_description": self.gpu,
            "price_cents_per_hour": self.cents,
            "specs": {
                "vcpus": self.vcpus,
                "memory_gib": self.memory,
                "storage_gib": self.storage,
                "gpus": self.gpus,
            },
        }


TYPES = (
    Type("gpu_1x_a10", "A10 (24 GB PCIe)", 75, 30, 200, 1400),
    Type("gpu_1x_a100", "A100 (40 GB PCIe)", 129, 30, 200, 512),
    Type("gpu_1x_gh200", "GH200 (96 GB)", 149, 64, 432, 4096, architecture="arm64"),
    Type("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 2392, 208, 1800, 22528, gpus=8),
    # Nowhere to be had, and listed all the same.
    Type("gpu_8x_b200_sxm6", "B200 (180 GB SXM6)", 3992, 208, 2900, 22528, gpus=8),
)

CAPACITY = {
    ("gpu_1x_a10", "us-west-1"): 4,
    ("gpu_1x_a10", "us-east-1"): 2,
    ("gpu_1x_a100", "us-west-2"): 2,
    ("gpu_1x_a100", "us-east-1"): 1,
    ("gpu_1x_a100", "us-south-1"): 1,
    ("gpu_1x_a100", "europe-central-1"): 2,
    ("gpu_1x_gh200", "us-east-3"): 2,
    ("gpu_8x_h100_sxm5", "us-west-3"): 1,
    ("gpu_8x_h100_sxm5", "us-south-2"): 1,
}

FAMILIES = (("lambda-stack-24-04", "24.4.3"), ("ubuntu-24-04", "24.4.1"))
MADE = "2025-06-01T00:00:00+00:00"


def images() -> list[dict[str, Any]]:
    """Of each family one per region; ARM's only where there are such machines."""
    arm = {place for name, place in CAPACITY if name == "gpu_1x_gh200"}
    every = [(family, place) for family in FAMILIES for place in REGIONS]
    return [
        {
            "id": f"{number:08x}-0000-4000-8000-{architecture == 'arm64':012x}",
            "created_time": MADE,
            "updated_time": MADE,
            "name": f"{family} {version} {architecture}",
            "description": "A made-up image",
            "family": family,
            "version": version,
            "architecture": architecture,
            "region": region(place),
        }
        for number, ((family, version), place) in enumerate(every)
        for architecture in ("x86_64", "arm64")
        if architecture == "x86_64" or place in arm
    ]
