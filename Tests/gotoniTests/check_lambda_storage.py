"""`gotoni` on the fake of Lambda's cloud: file systems, and machines' names."""

from __future__ import annotations

from typing import Any

from accounts import account
from home import Home


def _systems(user: Home) -> list[dict[str, Any]]:
    return user.gotoni("filesystems", "--json").ends(0).json()


def _create(user: Home, name: str, region: str = "us-east-1") -> str:
    """Its id."""
    made = user.gotoni("filesystems", "create", name, "--region", region, "--yes", "--json")
    return made.ends(0).json()["id"]


def file_systems_are_made_listed_and_deleted() -> None:
    with account() as (user, _):
        user.gotoni("filesystems").ends(0, "There are no file systems.")
        user.gotoni("filesystems", "create", "data", "--region", "us-east-1").ends(2, "is billed", "Say --yes")
        assert not _systems(user)
        said = user.gotoni("filesystems", "create", "data", "-r", "us-east-1", "-y")
        said.ends(0, "data: made", "/lambda/nfs/data")
        other = _create(user, "other", "us-west-1")
        user.gotoni("file-systems", "list").ends(0, "data  ", "us-east-1", "/lambda/nfs/data", "2025-11-01", "0 B")
        (first, _) = _systems(user)
        assert (first["name"], first["region"], first["is_in_use"]) == ("data", "us-east-1", False), first

        user.gotoni("filesystems", "delete", "data").ends(2, "all that is on it", "cannot be had back", "Say --yes")
        user.gotoni("filesystems", "delete", "data", "none", "-y").ends(5, 'no file system "none"')
        assert len(_systems(user)) == 2
        user.gotoni("filesystems", "delete", "data", other, "-y").ends(0, "data: deleted", "other: deleted")
        assert not _systems(user)


def a_file_system_is_not_made_where_that_cannot_be() -> None:
    with account() as (user, cloud):
        _create(user, "data")
        user.gotoni("filesystems", "create", "data", "-r", "us-west-1", "-y").ends(1, '"data" already, in us-east-1')
        user.gotoni("filesystems", "create", "9", "-r", "us-west-1", "-y").ends(1, "global/invalid-parameters")
        user.gotoni("filesystems", "create", "more", "-r", "nowhere", "-y").ends(1, "global/invalid-parameters")
        user.gotoni("filesystems", "create", "more").ends(2, "--region")
        cloud.fail_next("/filesystems", 400, "global/quota-exceeded", method="POST")
        user.gotoni("filesystems", "create", "more", "-r", "us-west-1", "-y").ends(6, "global/quota-exceeded")
        assert [each["name"] for each in _systems(user)] == ["data"]


def requests_for_file_systems_that_got_no_answer_are_not_repeated_blindly() -> None:
    with account() as (user, cloud):
        cloud.cut_next("/filesystems", method="POST")
        user.gotoni("filesystems", "create", "data", "-r", "us-east-1", "-y").ends(0, "Looking whether", "data: made")
        cloud.fail_next("/filesystems", method="POST")
        user.gotoni("filesystems", "create", "more", "-r", "us-east-1", "-y").ends(0, "Looking whether", "more: made")
        # The first was done, the second finds nothing.
        assert len(cloud.seen("POST", "/filesystems")) == 3
        cloud.cut_next("/filesystems/*", method="DELETE")
        user.gotoni("filesystems", "delete", "data", "-y").ends(0, "data: deleted")
        assert [asked.status for asked in cloud.seen("DELETE")] == [0, 404]
        assert [each["name"] for each in _systems(user)] == ["more"]


def a_machine_is_launched_where_its_file_system_is() -> None:
    with account() as (user, cloud):
        data = _create(user, "data", "us-east-1")
        away = user.gotoni("launch", "one", "-t", "gpu_1x_a10", "-r", "us-west-1", "-f", "data", "-y")
        away.ends(2, "data is in us-east-1", "Say --region us-east-1")
        user.gotoni("launch", "one", "-t", "gpu_1x_a10", "-f", "none", "-y").ends(5, 'no file system "none"')
        user.gotoni("launch", "one", "-t", "gpu_1x_gh200", "-f", "data", "-y").ends(6, "cannot be had in us-east-1 now")
        assert not cloud.launches()
        # There are others in us-west-1, which comes first.
        user.gotoni("launch", "one", "-t", "gpu_1x_a10", "-f", data, "-y").ends(0, "us-east-1", "active")
        assert cloud.launches()[0].body["file_system_names"] == ["data"]

        used = user.gotoni("filesystems", "delete", "data", "-y").ends(1, "data is mounted on a machine")
        assert not used.out and not cloud.seen("DELETE")
        user.gotoni("filesystems", "list").ends(0, "yes")


def a_file_system_that_was_mounted_meanwhile_is_not_deleted() -> None:
    with account() as (user, cloud):
        _create(user, "data")
        _create(user, "more")
        cloud.fail_next("/filesystems/*", 400, "filesystems/filesystem-in-use", method="DELETE")
        said = user.gotoni("filesystems", "delete", "data", "more", "-y")
        said.ends(7, "filesystems/filesystem-in-use", "more: deleted")
        assert "data: deleted" not in said.out
        cloud.fail_next("/filesystems/*", 400, "filesystems/filesystem-in-use", method="DELETE")
        user.gotoni("filesystems", "delete", "data", "-y").ends(1, "filesystems/filesystem-in-use")


def a_machine_gets_another_name() -> None:
    with account() as (user, cloud):
        user.gotoni("launch", "pair", "-t", "gpu_1x_a10", "--count", "2", "-y", "--tag", "owner=me").ends(0)
        user.gotoni("rename", "pair-1", "pair-2").ends(2, 'a machine "pair-2" already')
        user.gotoni("rename", "pair-3", "x").ends(5, 'no machine "pair-3"')
        user.gotoni("rename", "pair-1", "x" * 65).ends(2, "from 1 to 64 characters")
        user.gotoni("rename", "pair-1", "").ends(2, "from 1 to 64 characters")
        assert not cloud.seen("POST", "/instances/*")
        # To be asked twice does no harm.
        cloud.cut_next("/instances/*", method="POST")
        user.gotoni("rename", "pair-1", "chief").ends(0, "pair-1: now chief")
        wide = user.gotoni("list", "--wide").ends(0, "chief", "pair-2", "PRIVATE IP", "10.19.", "owner=me")
        assert "owner=me" not in user.gotoni("list").ends(0, "chief").out and "gotoni-launch" not in wide.out
