"""A user of `gotoni` who has an account at the fake of Lambda's cloud."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from home import Home, home
from lambda_cloud import LambdaCloud

KEY = "a-key"
# Between requests, in seconds; Lambda's own is 1.
INTERVAL = "0.01"


@contextlib.contextmanager
def account(**options: Any) -> Iterator[tuple[Home, LambdaCloud]]:
    with home() as user, LambdaCloud(key=KEY, boot_seconds=0.05, end_seconds=0.05, **options) as cloud:
        user.environment |= {
            "LAMBDA_API_KEY": KEY,
            "GOTONI_LAMBDA_URL": cloud.url,
            "GOTONI_LAMBDA_INTERVAL": INTERVAL,
        }
        yield user, cloud
