"""`gotoni` on the fake of Lambda's cloud: renting machines, looking at them, ending them, and what can go wrong."""

from __future__ import annotations

import concurrent.futures
from typing import Any

from accounts import KEY, account
from home import Home, folder
from lambda_cloud import LambdaCloud
from machines import make_key

def _launches(cloud: LambdaCloud) -> int:
    return len(cloud.launches())


def _machines(user: Home) -> list[dict[str, Any]]:
    return user.gotoni("list", "--json").ends(0).json()


def _keys(user: Home) -> list[dict[str, Any]]:
    return user.gotoni("keys", "--json").ends(0).json()


def what_can_be_had_is_shown_with_its_price() -> None:
    with account() as (user, _):
        said = user.gotoni("available").ends(0, "gpu_1x_a100", "europe-central-1", "$1.29")
        assert "gpu_8x_b200_sxm6" not in said.out
        user.gotoni("available", "--all").ends(0, "gpu_8x_b200_sxm6")
        said = user.gotoni("available", "--gpu", "h100", "--region", "us-west-3").ends(0, "gpu_8x_h100_sxm5")
        assert "a100" not in said.out
        user.gotoni("available", "--max-price", "0.10").ends(0, "None can be had now")
        types = user.gotoni("available", "--min-gpus", "8", "--json").ends(0).json()
        assert [each["name"] for each in types] == ["gpu_8x_h100_sxm5"] and types[0]["price_cents_per_hour"] == 2392
        user.gotoni("price").ends(0, "$39.92", "$4.99")


def a_machine_is_launched_listed_restarted_and_ended() -> None:
    with account() as (user, cloud):
        # Nobody can be asked here.
        user.gotoni("launch", "one", "--type", "gpu_1x_a100").ends(2, "$1.29 an hour", "Say --yes")
        user.gotoni("launch", "one", "--type", "gpu_1x_a100", "--dry-run").ends(0, "would launch one", "$30.96 a day")
        assert _launches(cloud) == 0 and not _keys(user)

        said = user.gotoni("launch", "--type", "gpu_1x_a100", "--name", "one", "--region", "us-east-1", "--yes")
        said.ends(0, "one", "us-east-1", "active", "127.0.0.")
        assert "launching one" in said.err and "launching one" not in said.out
        (machine,) = _machines(user)
        assert (machine["name"], machine["status"], machine["region"]) == ("one", "active", "us-east-1")
        user.gotoni("list").ends(0, "1 running, $1.29 an hour")
        user.gotoni("wait", "one").ends(0, "active")
        user.gotoni("restart", machine["id"][:8], "--yes").ends(0, "one: restarting")
        user.gotoni("wait", "one").ends(0, "active")
        user.gotoni("kill", "one").ends(2, "Say --yes")
        user.gotoni("delete", "one", "--yes").ends(0, "one: ending")
        user.gotoni("kill", "another", "--yes").ends(5, 'no machine "another"')

        # The key of the first launch is the key of the second.
        user.gotoni("launch", "pair", "-t", "gpu_1x_a10", "--count", "2", "-y", "--json").ends(0)
        assert {each["name"] for each in _machines(user)} >= {"pair-1", "pair-2"} and len(_keys(user)) == 1
        user.gotoni("kill", "--all", "--yes").ends(0, "pair-1: ending", "pair-2: ending")


def keys_are_added_and_deleted_and_private_ones_never_travel() -> None:
    with account() as (user, cloud):
        private = folder() / "mine"
        make_key(private)
        user.gotoni("keys", "add", f"{private}.pub").ends(0, "mine: added")
        user.gotoni("keys").ends(0, "mine", "ssh-ed25519")
        user.gotoni("keys", "add", private).ends(2, "is no public key")
        user.gotoni("ssh-keys", "delete", "mine", "--yes").ends(0, "mine: deleted")
        user.gotoni("keys", "delete", "mine", "--yes").ends(5, 'no key "mine"')
        user.gotoni("launch", "one", "-t", "gpu_1x_a10", "-y").ends(0)
        own = user.path / ".config" / "gotoni" / "keys" / "id_ed25519"
        assert own.stat().st_mode & 0o77 == 0
        assert not any("PRIVATE" in str(entry.body) for entry in cloud.log)


def what_cannot_be_had_ends_with_six() -> None:
    with account() as (user, cloud):
        user.gotoni("launch", "x", "-t", "gpu_8x_b200_sxm6", "-y").ends(6, "can be had nowhere now")
        user.gotoni("launch", "x", "-t", "gpu_1x_a100", "-r", "us-west-1", "-y").ends(6, "only in europe-central-1")
        user.gotoni("launch", "x", "-t", "gpu_1x_a100", "--max-price", "1", "-y").ends(6, "more than --max-price")
        user.gotoni("launch", "x", "-t", "gpu_2x_none", "-y").ends(5, "There is no type gpu_2x_none")
        assert _launches(cloud) == 0
        # Gone between looking and launching.
        cloud.fail_next("/instance-operations/launch", 400, "instance-operations/launch/insufficient-capacity")
        user.gotoni("launch", "x", "-t", "gpu_1x_a100", "-y").ends(6, "insufficient-capacity")
        assert not _machines(user)


def a_launch_that_got_no_answer_is_not_repeated() -> None:
    with account() as (user, cloud):
        cloud.cut_next("/instance-operations/launch")
        user.gotoni("launch", "one", "-t", "gpu_1x_a100", "-y").ends(0, "Looking whether one was launched", "active")
        assert _launches(cloud) == 1 and len(_machines(user)) == 1
        # One that was not taken is tried again.
        cloud.fail_next("/instance-operations/launch", 503, "provider/internal-unavailable")
        user.gotoni("launch", "two", "-t", "gpu_1x_a100", "-y").ends(0, "active")
        assert _launches(cloud) == 3 and len(_machines(user)) == 2


def what_passes_is_tried_again() -> None:
    with account() as (user, cloud):
        for status, code in ((503, "provider/internal-unavailable"), (500, "global/internal"), (429, "x")):
            cloud.fail_next("/instance-types", status, code)
            user.gotoni("available").ends(0, "gpu_1x_a100")
        cloud.fail_next("/instance-types", times=6)
        user.gotoni("available").ends(1, "provider/internal-unavailable")


def the_pace_is_kept_by_all_processes_together() -> None:
    """The cloud refuses what comes too often: nobody meets that, and without a pace all do."""
    # Ten times as long as the cloud asks for, as a busy machine starts one late and the next at once.
    for interval, scale, meets in (("0.3", 0.03, False), ("0", 1.0, True)):
        with account(rate_scale=scale) as (user, cloud):
            user.environment["GOTONI_LAMBDA_INTERVAL"] = interval
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                said = list(pool.map(lambda _: user.gotoni("available"), range(6)))
            assert meets or all(each.status == 0 for each in said), said
            if not meets:
                user.gotoni("launch", "pair", "-t", "gpu_1x_a10", "--count", "2", "-y").ends(0)
            # One that was held up on its way may come with the next.
            refused = [asked.status for asked in cloud.log].count(429)
            assert refused >= 6 if meets else refused <= 1, (interval, refused)


def who_may_not_is_told() -> None:
    with account() as (user, cloud):
        user.environment["LAMBDA_API_KEY"] = "wrong"
        user.gotoni("list").ends(4, "global/invalid-api-key", "Is LAMBDA_API_KEY right?")
        del user.environment["LAMBDA_API_KEY"]
        user.gotoni("list").ends(4, "no credentials", "LAMBDA_API_KEY is not set", "MODAL_TOKEN_ID")
        user.gotoni("list", "-p", "lambda").ends(4, "LAMBDA_API_KEY is not set")
        user.gotoni("list", "--provider", "orgo").ends(2, 'no provider "orgo"')
        user.environment |= {"LAMBDA_API_KEY": KEY, "GOTONI_LAMBDA_URL": "http://127.0.0.1:9"}
        user.gotoni("list").ends(1, "Lambda does not answer")
