"""`gotoni proxy` and `gotoni lb` on real gateways in front of engines."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import socket
from collections.abc import Iterator

from home import Home, folder, home
from machines import machines
from nats import nats
from programs import Engine, Proxy, chat, fresh_text, started, until

import nodes

TOKEN = "let-me-in"


@contextlib.contextmanager
def _proxy(*options: str, environment: dict[str, str] | None = None) -> Iterator[tuple[Home, Proxy]]:
    engines = [Engine("--name", name) for name in "ab"]
    with home() as user, started(*engines):
        named = [f"{name}={engine.url}" for name, engine in zip("ab", engines)]
        proxy = Proxy(*options, servers=named, environment=environment)
        with started(proxy):
            yield user, proxy


def _rows(text: str, first: str) -> dict[str, list[str]]:
    """Of the first table with this heading: by what is in the first column."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.split()[:1] == [first])
    table = itertools.takewhile(str.strip, lines[start + 1 :])
    return {line.split()[0]: line.split()[1:] for line in table}


def _facts(text: str) -> dict[str, str]:
    """Of lines like `Name:   value`."""
    return {line.split(":")[0]: line.split(":", 1)[1].strip() for line in text.splitlines() if ":" in line}


def a_proxy_tells_what_its_endpoints_tell() -> None:
    with _proxy() as (user, proxy):
        for _ in range(3):
            assert proxy.chat(fresh_text(2000)).status == 200
        proxy.until_quiet()
        at = ("--port", proxy.port)
        said = user.gotoni("proxy", "status", *at).ends(0, "Routing policy:", "gorgo", "Queue size:")
        assert _facts(said.out)["Handled"] == "3", said
        assert {name: row[0] for name, row in _rows(said.out, "SERVER").items()} == {"a": "up", "b": "up"}, said
        requests = sum(int(row[-2]) for row in _rows(said.out, "SERVER").values())
        assert requests == 3, said
        learned = _rows(said.out.split("Learned from answers")[1], "SERVER")
        assert set(learned) == {"a", "b"} and all(row[:3] == ["0", "-", "-"] for row in learned.values()), said
        document = user.gotoni("proxy", "status", "--json", *at).ends(0).json()
        assert document["total_handled"] == 3 and document.keys() == proxy.status().keys()

        stats = user.gotoni("proxy", "prefix-stats", *at).ends(0).out.splitlines()
        names = ["Nodes", "Leaves", "Max depth", "Avg depth", "Avg branching", "Avg prefix length"]
        assert [line.split(":")[0] for line in stats] == [*names, "Total server refs", "Unique servers"], stats
        found = proxy.get("/proxy/prefix/stats")
        assert [float(line.split(":")[1]) for line in stats[:2]] == [found["nodes"], found["leaves"]]

        latency = user.gotoni("proxy", "latency", *at).ends(0, "CURRENT", "AVERAGE").out
        assert all(float(row[0]) < 1000 for row in _rows(latency, "SERVER").values()), latency
        words = user.gotoni("proxy", "explain", "--last", "2", *at).ends(0, "gorgo: policy", "PREFILL", "TTFT").out
        assert words.count("VERDICT") == 2, words
        body = folder() / "body.json"
        body.write_text(json.dumps(chat(fresh_text(4000))))
        words = user.gotoni("proxy", "explain", "--body", body, *at).ends(0).out
        assert words.startswith("1002 tokens to ") and proxy.status()["total_handled"] == 3, words
        user.gotoni("proxy", "explain", "--body", "-", *at, text="{").ends(1, "refused: ")


def a_proxy_tells_how_true_its_predictions_are() -> None:
    with _proxy() as (user, proxy):
        for _ in range(4):
            assert proxy.chat(fresh_text(2000), 20, stream=True).status == 200
        proxy.until_quiet()
        said = user.gotoni("proxy", "status", "--port", proxy.port).ends(0, "PREFILL OF 1,000")
        learned = _rows(said.out.split("Learned from answers")[1], "SERVER")
        assert sum(int(row[0]) for row in learned.values()) == 4, said
        told = {server["id"]: server["learned"] for server in proxy.status()["servers"]}
        for name, row in learned.items():
            if told[name]["predictions"]:
                assert abs(float(row[1]) - told[name]["error_ms"]) < 0.06 and row[2] == "ms", said
        (last,) = proxy.get("/proxy/explain?last=1")["decisions"]
        assert 0 < last["first_token_ms"] <= last["ttft_ms"] and last["predicted_first_token_ms"] > 0, last
        words = user.gotoni("proxy", "explain", "--port", proxy.port).ends(0, "first token predicted after ").out
        assert f", seen after {int(last['first_token_ms'] + 0.5)} ms" in words, words


def a_proxy_is_found_by_name_by_url_and_before_or_behind_the_subcommand() -> None:
    with _proxy() as (user, proxy):
        for place in (
            ("--port", proxy.port),
            ("--host", "127.0.0.1", "--port", proxy.port),
            ("--host", f"127.0.0.1:{proxy.port}"),
            ("--url", f"http://127.0.0.1:{proxy.port}"),
        ):
            user.gotoni("proxy", "policy", *place).ends(0, "gorgo (available: ")
            user.gotoni("proxy", *place, "policy").ends(0, "gorgo (available: ")
            user.gotoni("proxy", *place, "servers", "list").ends(0, "SERVER")
        user.gotoni("proxy", "status", "--url", proxy.url, "--host", "x").ends(2, "one of --url, --host and --remote")
        user.gotoni("proxy", "status", "--url", "ftp://x").ends(2, "is no URL")
        user.gotoni("proxy", "status", "--port", "0").ends(2, "from 1 to 65535")
        user.gotoni("proxy", "status", "--host=-x").ends(2, "is no host")
        user.gotoni("proxy", "status", "--remote=-oProxyCommand=x").ends(2, "is no machine")


def whom_a_proxy_shares_with_and_follows_is_said() -> None:
    engine = Engine()
    with home() as user, nats() as server, started(engine):
        one, two = (Proxy("--nats", server.url, servers=[f"a={engine.url}"]) for _ in range(2))
        with started(one, two):
            until("they hear each other", lambda: one.status()["sharing"]["siblings"] == two.status()["sharing"]["siblings"] == 1)
            names = [each.status()["sharing"]["proxy"] for each in (one, two)]
            user.gotoni("proxy", "status", "--port", one.port).ends(0, f"with 1 other proxies of gotoni, as {names[0]}")
            user.gotoni("proxy", "tune", "start", "--port", one.port).ends(0, "warming (gorgo)")
            until("it is followed", lambda: two.get("/proxy/tune/status")["phase"] == "following")
            user.gotoni("proxy", "tune", "status", "--port", two.port).ends(0, f"following {names[0]} (gorgo)")
            user.gotoni("proxy", "tune", "start", "--port", two.port).ends(1, f"proxy {names[0]} tunes for group gotoni")


def what_a_proxy_does_is_changed() -> None:
    with _proxy() as (user, proxy):
        at = ("--port", proxy.port)

        def ends(status: int, *words: str, text: str) -> str:
            return user.gotoni("proxy", *words, *at).ends(status, text).out

        ends(0, "policy", "prefix-tree", text="gorgo -> prefix-tree")
        assert proxy.status()["routing_policy"] == "prefix-tree"
        ends(1, "policy", "prefix-three", text='there is no policy "prefix-three"; there are gorgo, ')

        words = ends(0, "tune", "--ms-per-token", "0.25", "queued_weight=0.5", text="")
        assert _facts(words)["ms_per_token"] == "0.25", words
        knobs = proxy.get("/proxy/tune")
        assert (knobs["ms_per_token"], knobs["queued_weight"]) == (0.25, 0.5)
        # Zero is a value.
        words = ends(0, "tune", "--running-cost-factor", "0", text="")
        assert _facts(words)["running_cost_factor"] == "0.0", words
        ends(1, "tune", "ms_per_token=0.5", "wrong=1", text="there is no knob wrong")
        assert proxy.get("/proxy/tune")["ms_per_token"] == 0.25
        ends(2, "tune", "--ms-per-token", "1", "ms_per_token=2", text="given twice")
        ends(2, "tune", "fast", text="fast")

        ends(1, "tune", "start", text="no weights to tune")
        ends(0, "policy", "gorgo", text="prefix-tree -> gorgo")
        ends(0, "tune", "status", text="off; it is begun with start")
        words = ends(0, "tune", "start", "--ttft-ms", "750", "--itl-ms", "40", text="warming (gorgo)")
        assert "first token within 750 ms, tokens within 40 ms" in words, words
        assert _rows(words, "WEIGHT")["queued_weight"] == ["0.500", "0.500", "0.500"], words
        ends(0, "tune", "freeze", text="frozen (gorgo)")
        ends(0, "tune", "rollback", text="frozen (gorgo)")
        assert proxy.get("/proxy/tune/status")["itl_limit_ms"] == 40
        ends(2, "tune", "start", "ms_per_token=1", text="either one order for the tuner or knobs")
        ends(2, "tune", "status", "--ttft-ms", "1", text="belong to start")

        with started(third := Engine("--name", "c")):
            ends(0, "servers", "add", f"c={third.url}", text="c: added")
            proxy.until_up(3)
            ends(1, "servers", "add", f"c={third.url}", text="refused: ")
            ends(7, "servers", "remove", "c", "nobody", text="there is no server nobody")
            ends(5, "servers", "remove", "nobody", text="there is no server nobody")
        ends(0, "servers", "drain", "a", text="a: draining")
        until("a drains", lambda: proxy.server("a")["state"] == "draining")
        ends(0, "servers", "undrain", "a", text="taking requests again")
        words = ends(0, "servers", text="SERVER")
        assert set(_rows(words, "SERVER")) == {"a", "b"}, words
        # The original's port.
        ends(0, "servers", "add", "127.0.0.9", text="127.0.0.9:8080: added")

        proxy.until_up(2)
        proxy.chat(fresh_text(2000))
        proxy.until_quiet()
        ends(0, "clear-cache", text="cleared ")
        assert proxy.get("/proxy/prefix/stats")["held_tokens"] == 0
        ends(5, "clear-cache", "--server", "nobody", text="there is no server nobody")

        assert _facts(ends(0, "metrics", text="TTFT p50"))["Requests tracked"] == "1"
        export = folder() / "requests.csv"
        ends(0, "metrics", "export", str(export), text=f"1 requests in {export}")
        (row,) = csv.DictReader(io.StringIO(export.read_text()))
        assert row["selected_server_id"] in ("a", "b"), row
        assert json.loads(ends(0, "metrics", "export", "-", "--json", text="{"))["selected_server_id"] in ("a", "b")
        ends(1, "metrics", "export", "/nowhere/x.csv", text="/nowhere/x.csv cannot be written")
        ends(0, "metrics", "clear", text="1 requests forgotten")
        ends(0, "metrics", "enable", "false", text="are not remembered")
        assert proxy.status()["metrics_collection_enabled"] is False


def who_does_not_answer_is_named_and_the_status_says_why() -> None:
    with home() as user:
        with nodes.nobody() as url:
            user.gotoni("proxy", "status", "--url", url).ends(1, f"Nobody answers at {url}; is gotoni-proxy running")
            port = url.rsplit(":", 1)[1]
            user.gotoni("lb", "status", "--port", port).ends(1, "Nobody answers", "gotoni-lb")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            user.gotoni("proxy", "status", "--port", port, "--timeout", "1s").ends(124, "has not answered within")
        with nodes.FakePeer() as other:
            user.gotoni("proxy", "status", "--port", other.port).ends(1, "What answers there is no gotoni-proxy")
        # It speaks no TLS.
        with _proxy() as (_, proxy):
            user.gotoni("proxy", "status", "--url", f"https://127.0.0.1:{proxy.port}").ends(1, "https://127.0.0.1")


def the_token_comes_from_the_environment_or_a_file() -> None:
    with _proxy(environment={"GOTONI_ADMIN_TOKEN": TOKEN}) as (user, proxy):
        at = ("proxy", "policy", "--port", proxy.port)
        user.gotoni(*at).ends(4, "wants the admin token")
        file = folder() / "token"
        file.write_text(TOKEN + "\n")
        user.gotoni(*at, "--token-file", file).ends(0, "gorgo")
        user.gotoni(*at, "--token-file", "-", text=TOKEN + "\n").ends(0, "gorgo")
        user.gotoni(*at, "--token-file", "/nowhere").ends(1, "/nowhere has no token")
        user.environment["GOTONI_ADMIN_TOKEN"] = "another"
        user.gotoni(*at).ends(4, "wants the admin token")
        user.environment["GOTONI_ADMIN_TOKEN"] = TOKEN
        user.gotoni(*at).ends(0, "gorgo")


def nodes_are_asked_all_at_once() -> None:
    with home() as user, nodes.mesh(2) as made:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in made.nodes)
        at = ("--host", hosts)
        assert made.nodes[0].chat(fresh_text(100)).status == 200
        made.until_quiet()
        said = user.gotoni("lb", "status", *at).ends(0, "FROM PEERS")
        rows = _rows(said.out, "HOST")
        assert [row[:2] for row in rows.values()] == [["a", "healthy"], ["b", "healthy"]], said
        assert "PREDICTION ERROR" in said.out and [row[-5] for row in rows.values()] == ["-", "-"], said
        assert [row[-3] for row in rows.values()] == ["1", "0"], said
        document = user.gotoni("lb", "status", "--json", *at).ends(0).json()
        assert [host["answer"]["node_id"] for host in document["hosts"]] == ["a", "b"]

        with nodes.nobody() as url:
            gone = url.removeprefix("http://")
            said = user.gotoni("lb", "status", "--host", hosts, "--host", gone).ends(7, f"Nobody answers at {url}")
            assert len(_rows(said.out, "HOST")) == 2, said
            document = user.gotoni("lb", "status", "--json", "--host", f"{hosts},{gone}").ends(7).json()
            assert "Nobody answers" in document["hosts"][2]["error"]

        user.gotoni("lb", "policy", *at).ends(0, "least-load, least-request")
        said = user.gotoni("lb", "policy", "least-loaded", *at).ends(0, "BEFORE")
        assert list(_rows(said.out, "HOST").values()) == [["gorgo", "least-load"]] * 2, said
        assert [node.get("/lb/policy")["current"] for node in made.nodes] == ["least-load"] * 2

        one = ("--port", made.nodes[0].port)
        user.gotoni("lb", "tune", "--max-concurrent", "5", "--queue-enabled", "false", *one).ends(0, "off")
        config = made.nodes[0].get("/lb/config")
        assert (config["max_concurrent"], config["queue_enabled"], config["ms_per_token"]) == (5, False, 0.094)
        assert made.nodes[1].get("/lb/config")["max_concurrent"] == 10
        user.gotoni("lb", "tune", "start", "--ttft-ms", "900", *at).ends(1, "no weights to tune")
        user.gotoni("lb", "policy", "gorgo", *one).ends(0)
        user.gotoni("lb", "tune", "start", "--ttft-ms", "900", *one).ends(0, "warming", "queued_weight=0.500")
        assert made.nodes[0].get("/lb/tune/status")["ttft_limit_ms"] == 900
        user.gotoni("lb", "tune", "start", "--max-concurrent", "5", *one).ends(2, "either an order for the tuner or values")
        user.gotoni("lb", "tune", "--max-concurrent", "0", *one).ends(1, "max_concurrent must be from 1")
        user.gotoni("lb", "clear-cache", *at).ends(0, "CLEARED")
        user.gotoni("lb", "status", "--host", "a", "--remote", "b").ends(2, "--host or --remote")


def nodes_learn_of_each_other() -> None:
    engines = [Engine("--name", name) for name in "ab"]
    with home() as user, started(*engines):
        made = [nodes.Node(engine=engine.url, name=name) for name, engine in zip("ab", engines)]
        with started(*made):
            hosts = ",".join(f"127.0.0.1:{node.port}" for node in made)
            user.gotoni("lb", "peers", "add-mesh", "--host", hosts).ends(0, "a: knows 1 others", "b: knows 1 others")
            for node, other in zip(made, "ba"):
                node.until_peer(other, healthy=True)
            said = user.gotoni("lb", "peers", "--host", hosts).ends(0, "HELD TOKENS")
            assert sorted(row[0] for row in _rows(said.out, "HOST").values()) == ["a", "b"], said
            said = user.gotoni("lb", "latency", "--matrix", "--host", hosts).ends(0)
            lines = [line.split() for line in said.out.splitlines()]
            assert lines[0][-2:] == ["a", "b"] and lines[1][:2] == ["a", "-"] and lines[2][2] == "-", said
            assert float(lines[1][2]) < 1000 and float(lines[2][1]) < 1000, said
            user.gotoni("lb", "latency", "--port", made[0].port).ends(0, "LATENCY", f"http://127.0.0.1:{made[1].port}")

            port = ("--port", made[0].port)
            user.gotoni("lb", "peers", "remove", "b", *port).ends(0, "b: removed")
            user.gotoni("lb", "peers", "remove", "b", *port).ends(5, "there is no such peer")
            user.gotoni("lb", "peers", "add", f"b=127.0.0.1:{made[1].port}", *port).ends(0, "b: added")
            user.gotoni("lb", "peers", "mesh", "--host", hosts.split(",")[0]).ends(2, "two nodes at least")


def over_ssh_no_token_is_needed() -> None:
    """The machine's own loopback is asked."""
    with machines() as given:
        if given is None:
            return
        user, pair = given
        with _proxy() as (_, proxy):
            at = ("--port", proxy.port, *pair.options())
            user.gotoni("proxy", "--remote", pair.names[0], "policy", *at).ends(0, "gorgo")
            user.gotoni("proxy", "prefix-stats", "--remote", pair.names[0], *at).ends(0, "Unique servers")
            user.gotoni("proxy", "policy", "--remote", "nobody@127.0.0.3", *at).ends(1, "cannot be reached by ssh")
        with nodes.mesh(1) as made:
            at = ("--port", made.nodes[0].port, *pair.options())
            said = user.gotoni("lb", "status", "--remote", ",".join(pair.names), *at).ends(0)
            assert [row[0] for row in _rows(said.out, "HOST").values()] == ["a", "a"], said
            said = user.gotoni("lb", "status", "--remote", f"{pair.names[0]},nobody@127.0.0.3", *at).ends(7)
            assert len(_rows(said.out, "HOST")) == 1, said
