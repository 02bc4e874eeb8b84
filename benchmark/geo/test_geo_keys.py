"""Keys, places and distances: python3 -m pytest benchmark/geo"""

from __future__ import annotations

import json
import pathlib
from array import array

import pytest

from choosing import distance_to, nearest
from distance import RoundTrip
from errors import GeoError
from keys import conversation_in, conversation_key, key_of, prompt_key
from lookup import read_lookup
from nodes import Node, read_nodes
from places import ALIASES, COUNTRIES, DEFAULT, STATES, Place, place_of
from prompts import CHAT, COMPLETIONS, BodyError, estimated_tokens, read
from usage import KEPT_BYTES, Usage, UsageReader

NODES = [
    Node("gpu-2", "http://127.0.0.1:1", 31.0461, 34.8516),
    Node("gotoni-germany", "http://127.0.0.1:2", 50.1109, 8.6821),
    Node("west_coast", "http://127.0.0.1:3", 37.7749, -122.4194),
]
TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "How are you?"},
]


@pytest.mark.parametrize(
    ("prompt", "key"),
    [
        ("Hello, world!", "ff8939704ae3e803"),
        ("a" * 250, "904f018dacdbf507"),
        ("héllo 🌍 wörld", "1da7d25d54fe3f6e"),
        ("", "1a9d5db22c73a993"),
    ],
)
def test_prompts_have_the_published_keys(prompt: str, key: str) -> None:
    assert prompt_key(prompt) == key_of(prompt) == key


def test_conversations_have_the_published_keys() -> None:
    assert conversation_key(TALK) == key_of(json.dumps(TALK)) == "a682606b63d2d7e1"
    assert conversation_key([{"role": "system", "content": "x"}]) == "3dbc7096d3bc930c"


def test_only_arrays_of_objects_with_roles_are_conversations() -> None:
    assert conversation_in(json.dumps(TALK)) == TALK
    for text in ("[]", "[1]", '[{"content": "x"}]', '[{"role": "user"}, 1]', "[not JSON]", "text", '{"role": "user"}'):
        assert conversation_in(text) is None
    assert conversation_in("[" * 100_000 + "]" * 100_000) is None


def test_text_with_half_a_surrogate_has_a_key() -> None:
    assert len(prompt_key("\ud800")) == 16


@pytest.mark.parametrize(
    ("place", "name", "kilometres"),
    [
        (place_of("United States", None), "west_coast", 2072.3),
        (place_of("United States", "Virginia"), "west_coast", 3819.3),
        (place_of("United Kingdom", None), "gotoni-germany", 1002.0),
        (place_of("India", None), "gpu-2", 4534.4),
        (Place(0, 0, None, None), "gpu-2", 5039.9),
        (place_of("Brazil", None), "gotoni-germany", 9264.2),
        (place_of("Russia", None), "gotoni-germany", 5590.2),
        (place_of("Japan", None), "west_coast", 8342.1),
    ],
)
def test_nearest_nodes_are_the_published_ones(place: Place, name: str, kilometres: float) -> None:
    node, distance = nearest(NODES, place)
    assert node.name == name
    assert distance == pytest.approx(kilometres, abs=0.05)


def test_first_of_two_equally_near_nodes_is_taken() -> None:
    twin = Node("twin", "http://127.0.0.1:9", NODES[0].latitude, NODES[0].longitude)
    assert nearest([NODES[0], twin], DEFAULT)[0].name == "gpu-2"
    assert nearest([twin, NODES[0]], DEFAULT)[0].name == "twin"


def test_round_trip_is_zero_kilometres_worth_its_base_and_grows_with_distance() -> None:
    assert RoundTrip().ms(0) == 5
    assert RoundTrip(10, 1).ms(2500) == 26
    assert distance_to(NODES[0], Place(NODES[0].latitude, NODES[0].longitude, None, None)) == 0


def test_georgia_is_a_country_and_a_state() -> None:
    country, state = place_of("Georgia", None), place_of("United States", "Georgia")
    assert country is not None and state is not None
    assert (country.lat, country.lon) == (42.3, 43.4)
    assert (state.lat, state.lon) == (32.1656, -82.9001)
    assert place_of("Georgia", "Tbilisi") == Place(42.3, 43.4, "Georgia", "Tbilisi")


def test_states_count_in_their_country_only() -> None:
    canada = place_of("Canada", "Washington")
    assert canada is not None and (canada.lat, canada.lon) == COUNTRIES["Canada"]
    assert place_of(None, "Texas") is None and place_of("", None) is None and place_of("Atlantis", "Texas") is None


def test_table_has_all_countries_and_states_under_all_their_names() -> None:
    assert len(STATES) == 51 and len(COUNTRIES) == 250  # ISO 3166 has 249, and Kosovo is none of them
    for lat, lon in [*STATES.values(), *COUNTRIES.values()]:
        assert -90 <= lat <= 90 and -180 <= lon <= 180
    assert set(ALIASES.values()) <= set(COUNTRIES) and not set(ALIASES) & set(COUNTRIES)
    for one, other in (("Türkiye", "Turkey"), ("Czechia", "Czech Republic"), ("Netherlands", "The Netherlands")):
        first, second = place_of(one, None), place_of(other, None)
        assert first and second and (first.lat, first.lon) == (second.lat, second.lon)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '[{"name": "a"}]', '[{"name": "a", "url": "ftp://x", "latitude": 0, "longitude": 0}]', "no",
     '[{"name": "a", "url": "http://x:99999", "latitude": 0, "longitude": 0}]',
     '[{"name": "a", "url": "http://x", "latitude": 91, "longitude": 0}]',
     '[{"name": "a", "url": "http://x", "latitude": 0, "longitude": 0, "more": 1}]',
     '[{"name": "a", "ip": "x", "port": "80", "latitude": 0, "longitude": 0}]'],
)  # fmt: skip
def test_nodes_files_that_say_nothing_clear_are_refused(content: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(content)
    with pytest.raises(GeoError):
        read_nodes(path)


def test_nodes_have_a_url_or_an_ip_and_a_port(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "nodes.json"
    at = {"latitude": 1, "longitude": 2}
    rows = [{"name": "a", "ip": "10.0.0.1", "port": 8000, **at}, {"name": "b", "url": "https://h.example/", **at}]
    path.write_text(json.dumps(rows))
    first, second = read_nodes(path)
    assert (first.url, first.host) == ("http://10.0.0.1:8000", "10.0.0.1")
    assert (second.url, second.host) == ("https://h.example", "h.example")
    path.write_text(json.dumps([rows[0], rows[0]]))
    with pytest.raises(GeoError, match="two nodes"):
        read_nodes(path)


def test_lookup_must_be_there_unless_none_is_wanted(tmp_path: pathlib.Path) -> None:
    with pytest.raises(GeoError, match="prepare_wildchat"):
        read_lookup(str(tmp_path / "nowhere.json"))
    assert read_lookup("none").find("0") == (DEFAULT, False)
    path = tmp_path / "lookup.json"
    path.write_text('{"k": {"lat": 1, "lon": 2, "country": null, "state": null}}')
    assert read_lookup(str(path)).find("k") == (Place(1, 2, None, None), True)
    path.write_text('{"k": {"lat": "1", "lon": 2, "country": null, "state": null}}')
    with pytest.raises(GeoError):
        read_lookup(str(path))


# ===== Bodies


def chat(*messages: object, **more: object) -> bytes:
    return json.dumps({"messages": messages, **more}).encode()


def test_place_is_looked_up_by_the_first_user_message() -> None:
    body = chat({"role": "system", "content": "s"}, {"role": "user", "content": "Hello, world!"}, TALK[2], model="m")
    asked = read(body, CHAT)
    assert asked.key == prompt_key("Hello, world!") and asked.body is body and asked.model == "m"
    parts = [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "Hello, world!"}]
    assert read(chat({"role": "user", "content": parts}), CHAT).key == prompt_key("Hello, world!")


def test_conversation_in_a_prompt_takes_the_place_of_the_messages() -> None:
    asked = read(chat({"role": "user", "content": json.dumps(TALK)}, stream=True), CHAT)
    assert json.loads(asked.body) == {"messages": TALK, "stream": True}
    assert asked.key == "a682606b63d2d7e1"
    assert asked.text == read(chat(*TALK), CHAT).text


def test_conversation_that_goes_on_begins_with_the_tokens_it_had() -> None:
    before, after = read(chat(*TALK[:1]), CHAT).text, read(chat(*TALK), CHAT).text
    assert after.startswith(before)
    whole = len(before.encode()) // 4
    assert estimated_tokens(after)[:whole] == estimated_tokens(before)[:whole]


def test_completions_are_read_by_their_prompt() -> None:
    assert read(b'{"prompt": "Hello, world!"}', COMPLETIONS).key == "ff8939704ae3e803"
    assert read(b'{"prompt": ["Hello, world!", "x"]}', COMPLETIONS).key == "ff8939704ae3e803"
    assert read(b'{"prompt": [1, 2]}', COMPLETIONS).key == prompt_key("")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"1"])
def test_bodies_that_are_no_objects_are_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        read(body, CHAT)


@pytest.mark.parametrize("body", [b"{}", b'{"messages": 1}', b'{"messages": [1, {"role": "user", "content": 2}]}'])
def test_bodies_without_a_prompt_are_for_the_node_to_refuse(body: bytes) -> None:
    asked = read(body, CHAT)
    assert asked.body is body and asked.key == prompt_key("")


def test_four_bytes_of_utf8_are_a_token() -> None:
    assert estimated_tokens("abcdé") == array("I", b"abcd\xc3\xa9\0\0")
    assert len(estimated_tokens("")) == 0
    assert len(estimated_tokens("\ud800")) == 1


# ===== Usage


USAGE = b'{"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}}'


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_usage_is_read_from_the_last_event_that_has_one(step: int) -> None:
    stream = b'data: {"usage": null}\n\n' * 9000 + b"data: " + USAGE + b"\n\ndata: [DONE]\n\n"
    assert len(stream) > KEPT_BYTES / 2
    reader = UsageReader(streams=True)
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
    assert reader.usage() == Usage(9, 4)


def test_usage_of_a_whole_answer_is_read_unless_it_was_too_long() -> None:
    reader = UsageReader(streams=False)
    reader.feed(USAGE)
    assert reader.usage() == Usage(9, 4)
    reader = UsageReader(streams=False)
    reader.feed(b" " * (3 * KEPT_BYTES))
    reader.feed(USAGE)
    assert reader.usage() == Usage()
    for text in (b"", b"[]", b'{"usage": 1}', b'{"usage": {"prompt_tokens": true}}'):
        reader = UsageReader(streams=False)
        reader.feed(text)
        assert reader.usage() == Usage()
