"""What is set for all commands, and what doctor says of a cloud, on the fake of Lambda's cloud."""

from __future__ import annotations

import contextlib
import email.utils
import time
from collections.abc import Iterator

import lambda_cloud
from home import Home, home
from lambda_cloud import LambdaCloud

KEY = "a-key-that-nobody-shows"


@contextlib.contextmanager
def _account() -> Iterator[tuple[Home, LambdaCloud]]:
    with home() as user, LambdaCloud(key=KEY, boot_seconds=0.05, end_seconds=0.05) as cloud:
        user.environment |= {
            "LAMBDA_API_KEY": KEY,
            "GOTONI_LAMBDA_URL": cloud.url,
            "GOTONI_LAMBDA_INTERVAL": "0.01",
        }
        yield user, cloud


@contextlib.contextmanager
def _clock(ahead: float) -> Iterator[None]:
    """The cloud's clock, so many seconds ahead of ours."""
    handler = lambda_cloud._Handler
    handler.date_time_string = lambda self, timestamp=None: email.utils.formatdate(time.time() + ahead, usegmt=True)
    try:
        yield
    finally:
        del handler.date_time_string


def a_launch_takes_what_is_set() -> None:
    with _account() as (user, _):
        own, mine = user.path / "gotoni.yaml", user.path / ".config" / "gotoni" / "config.yaml"
        mine.parent.mkdir(parents=True, mode=0o700)
        user.gotoni("launch", "one", "--dry-run").ends(2, "Name a --type")
        mine.write_text("type: gpu_1x_a10\nregion: us-west-1\n")
        launch = ("launch", "one", "--dry-run")
        user.gotoni(*launch).ends(0, "gpu_1x_a10 in us-west-1")
        own.write_text("type: gpu_1x_a100\nregion: us-east-1\n")
        user.gotoni(*launch).ends(0, "gpu_1x_a100 in us-east-1")
        user.environment["GOTONI_REGION"] = "europe-central-1"
        user.gotoni(*launch).ends(0, "gpu_1x_a100 in europe-central-1")
        user.gotoni(*launch, "-t", "gpu_1x_a10", "-r", "us-west-1").ends(0, "gpu_1x_a10 in us-west-1")
        user.gotoni(*launch, "--region", "auto").ends(0, "gpu_1x_a100 in ")
        own.write_text("provider: orgo\n")
        user.gotoni("list").ends(2, 'no provider "orgo"')
        user.environment["GOTONI_CLOUD"] = "lambda"
        user.gotoni("list").ends(0)
        user.gotoni("list", "--provider", "orgo").ends(2, 'no provider "orgo"')


def doctor_asks_the_cloud_and_shows_no_secret() -> None:
    with _account() as (user, cloud):

        def rows(status: int) -> dict[str, tuple[bool, str]]:
            said = user.gotoni("doctor", "--json").ends(status)
            assert KEY not in said.out + said.err
            return {row["check"]: (row["ok"], row["state"]) for row in said.json()}

        found = rows(0)
        assert found["cloud"] == (True, "lambda answers; 0 machines run") and found["clock"][0], found
        assert found["credentials of lambda"] == (True, "$LAMBDA_API_KEY") and "python" not in found
        for ahead, words in ((7200, "behind lambda's"), (-7200, "ahead of lambda's")):
            with _clock(ahead):
                isGood, state = rows(1)["clock"]
                assert not isGood and words in state, state
        user.environment["LAMBDA_API_KEY"] = "wrong"
        assert "Is LAMBDA_API_KEY right?" in rows(1)["cloud"][1]
        user.environment["GOTONI_LAMBDA_URL"] = "http://127.0.0.1:9"
        assert "does not answer" in rows(1)["cloud"][1]
        assert not cloud.launches()


def doctor_looks_for_modal_where_it_is_wanted() -> None:
    with home() as user:
        user.environment = {name: value for name, value in user.environment.items() if name != "LAMBDA_API_KEY"}
        file = user.path / ".modal.toml"
        file.write_text("[me]\n")
        file.chmod(0o644)
        user.environment["GOTONI_MODAL_PYTHON"] = "/usr/bin/false"
        found = {row["check"]: row for row in user.gotoni("doctor", "--json").ends(1).json()}
        assert "others may read it" in found["credentials of modal"]["state"]
        assert found["python"]["state"] == "/usr/bin/false has no modal" and not found["python"]["ok"]
        user.environment["GOTONI_MODAL_PYTHON"] = "/nowhere/python"
        file.chmod(0o600)
        found = {row["check"]: row for row in user.gotoni("doctor", "--json").ends(1).json()}
        assert found["credentials of modal"]["ok"] and found["python"]["state"] == "/nowhere/python cannot be run"
