"""Options, environment, file."""

from __future__ import annotations

import pathlib
import re
import tempfile

import nodes
from nodes import KEY, FakePeer, Node
from programs import Engine, run, started

ENGINE = ("--engine", "http://127.0.0.1:1")
WITH_KEY = {"GOTONI_MESH_KEY": KEY}


def _file(text: str) -> str:
    path = pathlib.Path(tempfile.mkstemp(suffix=".yaml")[1])
    path.write_text(text)
    return str(path)


def _run(*options: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    return run(*options, environment=environment, program=nodes.LB)


def _printed(*options: str, environment: dict[str, str] | None = None) -> str:
    status, text = _run("--print-config", *options, environment=environment)
    assert status == 0, text
    return text


def the_help_has_every_option_of_a_node() -> None:
    status, text = _run("--help")
    assert status == 0
    for word in ("--engine", "--peer", "--node-id", "--strategy", "--running-threshold", "GOTONI_MESH_KEY"):
        assert word in text, word
    # What only the proxy has.
    assert "--server " not in text and "--policy " not in text, text
    status, text = _run("--version")
    assert status == 0 and re.fullmatch(r"\d+\.\d+\.\d+\S*", text.strip()), text


def what_is_printed_reads_back_as_the_same() -> None:
    options = (
        "--engine http://127.0.0.1:1 --peer b=http://127.0.0.1:2 --peer c=https://example.org/lb --peer [::1]:8000 "
        "--node-id here --strategy least-load --running-threshold 3 --max-concurrent 4 --ms-per-token 0.5 "
        "--running-cost-factor 0 --queue-timeout 250ms --tls-insecure c --log-format json --seed 9 --threads 1"
    ).split()
    first = _printed(*options)
    assert _printed("--config", _file(first)) == first, first
    for line in ("strategy: least-load", "node-id: here", "running-threshold: 3", "queue-timeout: 250.0ms"):
        assert line in first, (line, first)
    for peer in ("b=http://127.0.0.1:2", "c=https://example.org/lb", "[::1]:8000=http://[::1]:8000"):
        assert peer in first, (peer, first)


def flags_win_over_the_environment_and_that_over_the_file() -> None:
    file = _file("engine: http://127.0.0.1:1\npeer: [x=http://127.0.0.1:11]\nnode-id: file\nstrategy: random\n")
    text = _printed("--config", file)
    assert "x=http://127.0.0.1:11" in text and "node-id: file" in text and "strategy: random" in text, text
    environment = {
        "GOTONI_ENGINE": "http://127.0.0.1:2",
        "GOTONI_PEER": "y=http://127.0.0.1:12, http://127.0.0.1:13",
        "GOTONI_NODE_ID": "environment",
        "GOTONI_STRATEGY": "prefix-tree",
        "GOTONI_RUNNING_THRESHOLD": "2",
    }
    text = _printed("--config", file, environment=environment)
    for line in ("http://127.0.0.1:2\"", "y=http://127.0.0.1:12", "127.0.0.1:13=http://127.0.0.1:13"):
        assert line in text, (line, text)
    assert "strategy: prefix-tree" in text, text
    assert "127.0.0.1:11" not in text and "running-threshold: 2" in text and "node-id: environment" in text, text
    flags = ("--engine", "http://127.0.0.1:3", "--peer", "z=http://127.0.0.1:14", "--strategy", "gorgo")
    text = _printed("--config", file, *flags, environment=environment)
    assert "http://127.0.0.1:3\"" in text and "z=http://127.0.0.1:14" in text and "strategy: gorgo" in text, text
    assert "127.0.0.1:12" not in text and "127.0.0.1:2\"" not in text, text


def an_engine_may_be_named_in_one_place_and_peers_in_another() -> None:
    peers = {"GOTONI_PEER": "b=http://127.0.0.1:2"}
    assert "b=http://127.0.0.1:2" in _printed(*ENGINE, environment=peers)
    engine = {"GOTONI_ENGINE": "http://127.0.0.1:1"}
    assert "b=http://127.0.0.1:2" in _printed("--peer", "b=http://127.0.0.1:2", environment=engine)
    assert "b=http://127.0.0.1:2" in _printed(*ENGINE, "--config", _file("peer: [b=http://127.0.0.1:2]\n"))
    assert "b=http://127.0.0.1:2" in _printed("--config", _file("peer: b=http://127.0.0.1:2\nengine: 127.0.0.1:1\n"))


def secrets_are_not_printed() -> None:
    names = ("GOTONI_MESH_KEY", "GOTONI_ADMIN_TOKEN", "GOTONI_API_KEYS", "GOTONI_UPSTREAM_API_KEY")
    text = _printed(*ENGINE, environment={name: f"secret-{name}" for name in names})
    assert "secret-" not in text, text


def the_originals_names_of_strategies_are_taken() -> None:
    for given, shown in (
        ("gorgo", "gorgo"),
        ("GORGO", "gorgo"),
        ("prefix-tree", "prefix-tree"),
        ("prefix_tree", "prefix-tree"),
        ("least-load", "least-load"),
        ("least-loaded", "least-load"),
        ("least_load", "least-load"),
    ):
        assert f"strategy: {shown}\n" in _printed(*ENGINE, "--strategy", given), given


def what_is_wrong_is_said_and_nothing_starts() -> None:
    cases: list[tuple[list[str], str]] = [
        ([], "--engine URL is wanted"),
        (["--peer", "b=http://127.0.0.1:2"], "there is no --engine"),
        (["--node-id", "x"], "there is no --engine"),
        (["--engine", "ftp://x"], "is not http"),
        ([*ENGINE, "--strategy", "gorg"], "there is no policy"),
        ([*ENGINE, "--peer", "b=http://127.0.0.1:2", "--peer", "b=http://127.0.0.1:3"], "named twice"),
        ([*ENGINE, "--peer", "b=http://127.0.0.1:2", "--peer", "c=http://127.0.0.1:2"], "named twice"),
        ([*ENGINE, "--peer", "b=http://127.0.0.1:1"], "already"),
        ([*ENGINE, "--peer", "local=http://127.0.0.1:2"], "already"),
        ([*ENGINE, "--peer", "b=nowhere://x"], "is not http"),
        ([*ENGINE, "--running-threshold", "some"], "not a whole number"),
        ([*ENGINE, "--max-concurrent", "0"], "from 1 to"),
        ([*ENGINE, "--server", "a=http://127.0.0.1:2"], "Unknown option"),
        ([*ENGINE, "--policy", "gorgo"], "Unknown option"),
        ([*ENGINE, "--config", _file("server: [127.0.0.1:2]\n")], "there is no setting server"),
        ([*ENGINE, "--config", _file("mesh-key: x\n")], "there is no setting mesh-key"),
    ]
    for options, pattern in cases:
        status, text = _run("--listen", "127.0.0.1:0", *options, environment=WITH_KEY)
        assert status != 0, f"{options} is taken"
        assert re.search(pattern, text), f"{options}: {text}"
    for name, value in (("GOTONI_PEER", "b=x://y"), ("GOTONI_STRATEGY", "gorg"), ("GOTONI_RUNNING_THRESHOLD", "x")):
        status, text = _run("--listen", "127.0.0.1:0", *ENGINE, environment={**WITH_KEY, name: value})
        assert status != 0 and name in text, text


def peers_want_a_key_and_one_that_can_be_sent() -> None:
    peer = (*ENGINE, "--peer", "b=http://127.0.0.1:2")
    for key in ("", "  "):
        status, text = _run("--listen", "127.0.0.1:0", *peer, environment={"GOTONI_MESH_KEY": key})
        assert status != 0 and "GOTONI_MESH_KEY" in text, text
    status, text = _run("--listen", "127.0.0.1:0", *peer, environment={"GOTONI_MESH_KEY": "two\r\nlines"})
    assert status != 0 and "GOTONI_MESH_KEY" in text and "two" not in text, text


def a_node_without_peers_is_served_by_its_engine() -> None:
    """From a file, without a key: nothing of the mesh is wanted."""
    engine = Engine()
    with started(engine):
        file = _file(f"engine: {engine.url}\nstrategy: least-loaded\n")
        node = Node("--config", file, engine=engine.url, environment={"GOTONI_MESH_KEY": ""})
        with started(node):
            assert node.chat("hello").status == 200 and engine.served() == 1
            state = node.state()
            assert state["peer_count"] == state["healthy_peers"] == 0, state
            assert node.get("/lb/config")["policy"] == "least-load"
            node.ask("GET", "/lb/peer").problem(401, "mesh_key")
            node.ask("GET", "/lb/peer", headers={"authorization": "Bearer "}).problem(401, "mesh_key")


def peers_of_the_environment_are_followed() -> None:
    engine = Engine()
    with started(engine), FakePeer() as first, FakePeer() as second:
        environment = {"GOTONI_PEER": f"one={first.url},two={second.url}"}
        node = Node(engine=engine.url, environment=environment)
        with started(node):
            for name, peer in (("one", first), ("two", second)):
                node.until_peer(name, available=True, max_load=100)
                assert peer.asked > 0
