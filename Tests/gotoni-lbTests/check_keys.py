"""Who may do what, and which key goes where."""

from __future__ import annotations

import nodes
from nodes import CHAT, KEY, FakePeer, Node, nobody
from programs import Engine, started
from wire import Recorder, Seen

CONTROL = tuple(
    f"/lb/{name}"
    for name in ("status", "metrics", "config", "policy", "peers", "tokenizer?text=x", "trace/status")
)
CHANGES = ("/lb/cache/clear", "/lb/trace/start", "/lb/trace/stop", "/lb/config", "/lb/policy", "/lb/peers")


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _forwarded_by(environment: dict[str, str], headers: dict[str, str]) -> tuple[Seen, list[Seen]]:
    """A request as the peer of a node without an engine sees it, and all that the peer was sent."""
    with nobody() as url, FakePeer() as peer:
        node = Node(engine=url, peers=[f"b={peer.url}"], environment=environment, ready=False)
        with started(node):
            node.until_peer("b", available=True)
            answer = node.chat("for the peer", headers=headers)
            assert answer.status == 200, answer
            assert len(peer.forwards) == 1, peer.forwards
            return peer.forwards[0], peer.seen


def _served_by(environment: dict[str, str], headers: dict[str, str]) -> Seen:
    """A request as the engine of a node sees it."""
    with Recorder() as engine:
        node = Node(engine=f"http://127.0.0.1:{engine.port}", environment=environment)
        with started(node):
            answer = node.chat("for the engine", headers=headers)
            assert answer.status == 200, answer
            return engine.seen[-1]


def news_are_for_those_who_have_the_key() -> None:
    engine = Engine()
    with started(engine):
        # Neither the admin's token nor a client's key is one.
        node = Node(engine=engine.url, environment={"GOTONI_ADMIN_TOKEN": "admin", "GOTONI_API_KEYS": "client"})
        with started(node):
            wrong = [_bearer(text) for text in ("", "x", KEY[:-1], KEY + "x", KEY.upper(), "admin", "client")]
            wrong += [{}, {"authorization": KEY}, {"authorization": f"Basic {KEY}"}, {"x-lb-key": KEY, "x-lb-hop": "1"}]
            for headers in wrong:
                node.ask("GET", "/lb/peer", headers=headers).problem(401, "mesh_key")
                node.ask("POST", "/lb/peer", b"", headers=headers).problem(401, "mesh_key")
            answer = node.ask("GET", "/lb/peer", headers=_bearer(KEY))
            assert answer.status == 200 and answer.field("content-type") == "application/octet-stream", answer
            # Version 1, and the news behind 68 bytes.
            assert answer.body[0] == 1 and len(answer.body) >= 68 + 10, answer.body
            node.ask("POST", "/lb/peer", b"", headers=_bearer(KEY)).problem(405, "method")
            for query in ("?sequence=x", "?incarnation=-1&sequence=99999999999999999999", "?known=&known=1", "?%zz"):
                assert node.ask("GET", f"/lb/peer{query}", headers=_bearer(KEY)).status == 200, query


def the_admins_token_opens_the_endpoints_of_a_node() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url, environment={"GOTONI_ADMIN_TOKEN": "admin", "GOTONI_API_KEYS": "client"})
        with started(node):
            wrong = [{}, _bearer("admi"), _bearer("client"), _bearer(KEY), {"authorization": "admin"}]
            # The key of the mesh opens nothing, even where a forward has it.
            wrong.append({"x-lb-key": KEY, "x-lb-hop": "1"})
            for headers in wrong:
                for path in CONTROL:
                    node.ask("GET", path, headers=headers).problem(401, "admin_token")
                for path in CHANGES:
                    node.ask("POST", path, b"{}", headers=headers).problem(401, "admin_token")
                assert node.ask("GET", "/lb/health", headers=headers).status == 200
            for path in CONTROL:
                assert node.ask("GET", path, headers=_bearer("admin")).status == 200, path
            assert node.ask("POST", "/lb/cache/clear", b"", headers=_bearer("admin")).status == 200
            assert engine.served() == 0


def a_web_page_controls_no_node_in_its_visitors_name() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url)
        with started(node):
            for path in CONTROL:
                node.ask("GET", path, headers={"host": "evil.example"}).problem(403, "host")
                node.ask("GET", path, headers={"origin": "https://evil.example"}).problem(403, "origin")


def a_forward_needs_no_api_key_and_nothing_else_comes_without() -> None:
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url, environment={"GOTONI_API_KEYS": "client"})
        with started(node):
            assert node.chat("x", headers={"x-lb-key": KEY, "x-lb-hop": "1"}).status == 200
            assert node.chat("x", headers=_bearer("client")).status == 200
            assert node.chat("x", headers={**_bearer("client"), "x-lb-key": "wrong", "x-lb-hop": "1"}).status == 200
            for headers in ({}, _bearer("wrong"), _bearer(KEY), {"x-lb-hop": "1"}, {"x-lb-key": "x", "x-lb-hop": "1"}):
                node.chat("x", headers=headers).problem(401, "invalid_api_key")
                node.ask("GET", "/v1/models", headers=headers).problem(401, "invalid_api_key")
            assert engine.served() == 3 and node.counts()["requests_from_peers"] == 1


def a_node_without_a_mesh_key_believes_nobody() -> None:
    """Not even one who has none either."""
    engine = Engine()
    with started(engine):
        node = Node(engine=engine.url, environment={"GOTONI_MESH_KEY": "", "GOTONI_API_KEYS": "client"})
        with started(node):
            for key in ("", KEY, "client"):
                node.chat("x", headers={"x-lb-key": key, "x-lb-hop": "1"}).problem(401, "invalid_api_key")
            assert node.chat("x", headers={**_bearer("client"), "x-lb-key": "", "x-lb-hop": "9"}).status == 200
            assert node.counts()["requests_from_peers"] == 0


def what_a_client_sends_as_its_key_goes_to_peers_as_it_goes_to_engines() -> None:
    """Where nobody here looks at it, both get it; where it is for this node, neither does."""
    mine = _bearer("mine")
    for environment, kept in (({}, "Bearer mine"), ({"GOTONI_API_KEYS": "mine"}, None)):
        assert _forwarded_by(environment, mine)[0].field("authorization") == kept, environment
        assert _served_by(environment, mine).field("authorization") == kept, environment


def the_engines_key_is_for_the_engine_alone() -> None:
    environment = {"GOTONI_UPSTREAM_API_KEY": "the-engines", "GOTONI_API_KEYS": "mine"}
    for headers in (_bearer("mine"), {"x-lb-key": KEY, "x-lb-hop": "1"}):
        assert _served_by(environment, headers).field("authorization") == "Bearer the-engines"
    forward, everything = _forwarded_by(environment, _bearer("mine"))
    assert forward.field("authorization") is None, forward.raw
    # Neither with requests nor with questions.
    assert len(everything) >= 3 and not any(b"the-engines" in seen.raw for seen in everything), everything
    asked = [seen for seen in everything if seen.target.startswith("/lb/peer")]
    assert asked and all(seen.field("authorization") == f"Bearer {KEY}" for seen in asked), asked
    probes = [seen for seen in everything if seen.target == "/lb/health"]
    assert probes and not any(seen.field("authorization") for seen in probes), probes


def the_meshs_key_goes_to_peers_and_to_nobody_else() -> None:
    forward, _ = _forwarded_by({}, {})
    assert [forward.field(name) for name in nodes.FIELDS] == ["1", KEY, None], forward.raw
    for headers in ({}, {"x-lb-key": KEY, "x-lb-hop": "1", "x-lb-flow": "5"}):
        with Recorder() as engine:
            node = Node(engine=f"http://127.0.0.1:{engine.port}")
            with started(node):
                answer = node.ask("POST", CHAT, {"messages": []}, headers)
                assert answer.status == 200 and KEY not in repr(answer), answer
                assert KEY not in node.words()
                assert not any(KEY.encode() in seen.raw for seen in engine.seen), engine.seen


def nodes_with_different_keys_serve_alone() -> None:
    """Each refuses the other's questions, says so once, and goes on."""
    engines = [Engine(), Engine()]
    with started(*engines):
        first = Node(engine=engines[0].url, name="first")
        other = {"GOTONI_MESH_KEY": "another"}
        second = Node(engine=engines[1].url, name="second", environment=other, peers=[f"first={first.url}"])
        with started(first, second):
            first.add("second", second.url)
            for node, name in ((first, "second"), (second, "first")):
                node.until_peer(name, state="unknown")
                for number in range(30):
                    assert node.chat(f"{number}").status == 200
                assert node.peer(name)["available"] is False and node.counts()["requests_forwarded"] == 0
                assert node.words().count("peer tells no news") == 1 and "status 401" in node.words(), node.words()
