"""Which node a request goes to: the nearest one, or the one that gotoni takes."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Protocol, Sequence

from distance import RoundTrip, distance_km
from errors import GeoError
from nodes import Node
from places import Place
from prompts import Asked, Tokens, estimated_tokens

if TYPE_CHECKING:
    import gotoni

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
BINDING = REPOSITORY / "bindings" / "python"
LIBRARIES = {
    "GOTONI_LIBRARY": REPOSITORY / "build" / "lib" / "libgotoni.so.0",
    "GOTONI_TOKENIZER_LIBRARY": REPOSITORY / "build" / "lib" / "libgotoni-tokenizer.so.0",
}


class ChoiceError(Exception):
    """One sentence about why no node can be chosen; `status` is HTTP's."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Choice:
    """A node for one request. `receipt` is told how the request went on."""

    node: Node
    distance_km: float
    user_rtt_ms: float
    prompt_tokens: int
    cost_ms: float | None = None
    matched_tokens: int | None = None
    receipt: gotoni.Ticket | None = None


class Chooser(Protocol):
    """A way to choose nodes."""

    name: str

    def choose(self, asked: Asked, place: Place) -> Choice:
        """Errors: ChoiceError."""
        ...

    def forget(self) -> str:
        """Forgets which prompts nodes have seen, and says so in a sentence."""
        ...

    def counters(self) -> dict[str, int]:
        """Its own, since it was made."""
        ...

    def close(self) -> None: ...


class Nearest:
    """The node at the smallest distance, the first one of several; whatever it holds and has to do."""

    name = "nearest"

    def __init__(self, nodes: Sequence[Node], round_trip: RoundTrip) -> None:
        self.nodes = nodes
        self.round_trip = round_trip

    def choose(self, asked: Asked, place: Place) -> Choice:
        node, kilometres = nearest(self.nodes, place)
        # Tokens are only for the log here, and a model's own are not worth the time they take.
        return Choice(node, kilometres, self.round_trip.ms(kilometres), len(estimated_tokens(asked.text)))

    def forget(self) -> str:
        return "The router 'nearest' keeps nothing about prompts."

    def counters(self) -> dict[str, int]:
        return {}

    def close(self) -> None: ...


class Cheapest:
    """The node of the smallest cost by gotoni, with the round trip of this request's user; of several the first."""

    name = "gotoni"

    def __init__(
        self,
        nodes: Sequence[Node],
        round_trip: RoundTrip,
        tokens: Tokens,
        *,
        kv_tokens: int,
        most_requests: int,
        silence_s: float,
        ms_per_token: float | None,
    ) -> None:
        """`kv_tokens` that a node can cache, 0 for the library's default. Errors: GeoError."""
        self.gotoni = binding()
        self.nodes = {number: node for number, node in enumerate(nodes, 1)}
        self.round_trip = round_trip
        self.tokens = tokens
        try:
            self.router = self.gotoni.Router(
                default_kv_capacity_tokens=kv_tokens, max_tickets=most_requests, max_servers=len(nodes)
            )
            for number in self.nodes:
                self.router.add_server(number)
            # The library knows one distance for each server. Here every user has another, and it is added below.
            self.router.knobs["rtt_prior_ms"] = 0
            self.router.knobs["ticket_silence_ms"] = 1000 * silence_s
            if ms_per_token is not None:
                self.router.knobs["ms_per_token"] = ms_per_token
        except self.gotoni.GotoniError as error:
            raise GeoError(f"gotoni refuses: {error}") from error

    def choose(self, asked: Asked, place: Place) -> Choice:
        kilometres = {number: distance_to(node, place) for number, node in self.nodes.items()}
        tokens = self.tokens(asked.text)
        namespace = self.gotoni.namespace(asked.model.encode("utf-8", "replace"))
        try:
            table, _ = self.router.explain(tokens, namespace=namespace)
            costs = {
                row.server: row.cost_ms + self.round_trip.ms(kilometres[row.server])
                for row in table
                if row.verdict == "eligible"
            }
            if not costs:
                raise ChoiceError("No node may take the request.", 503)
            best = min(costs, key=lambda number: costs[number])
            # Taken through the library, so that it counts as load and as a prompt seen there. Nothing comes between
            # the two calls: there is one event loop, and neither waits.
            others = [number for number in self.nodes if number != best]
            ticket = self.router.route(tokens, namespace=namespace, exclude=others)
        except self.gotoni.RangeError as error:
            raise ChoiceError(f"The prompt is too long for the router: {error}", 413) from error
        except self.gotoni.GotoniError as error:
            raise ChoiceError(f"The router refuses: {error}", 503) from error
        return Choice(
            self.nodes[best],
            kilometres[best],
            self.round_trip.ms(kilometres[best]),
            ticket.prompt_tokens,
            costs[best],
            ticket.matched_tokens,
            ticket,
        )

    def forget(self) -> str:
        self.router.clear()
        return "All prefixes of all nodes are forgotten."

    def counters(self) -> dict[str, int]:
        """The library's, and over all nodes: cached tokens as it believed them and as engines said they were."""
        servers = [self.router.server(number) for number in self.nodes]
        return {
            **dataclasses.asdict(self.router.stats()),
            "parity_reports": sum(server.parity_reports for server in servers),
            "predicted_cached_tokens": sum(server.predicted_cached_tokens for server in servers),
            "reported_cached_tokens": sum(server.reported_cached_tokens for server in servers),
        }

    def close(self) -> None:
        self.router.close()


def nearest(nodes: Sequence[Node], place: Place) -> tuple[Node, float]:
    """The node and its distance in kilometres."""
    distances = [distance_to(node, place) for node in nodes]
    first = distances.index(min(distances))
    return nodes[first], distances[first]


def distance_to(node: Node, place: Place) -> float:
    return distance_km(place.lat, place.lon, node.latitude, node.longitude)


def tokens_by(tokenizer: str | None) -> Tokens:
    """Token ids of texts by a model's tokenizer, else estimated. Errors: GeoError."""
    if tokenizer is None:
        return estimated_tokens
    gotoni = binding()
    try:
        loaded = gotoni.Tokenizer(tokenizer)
    except (OSError, ImportError, gotoni.GotoniError) as error:
        raise GeoError(f"the tokenizer {tokenizer} cannot be used: {error}") from error
    # A lone surrogate, which JSON can carry, has no token.
    return lambda text: loaded.encode(text.encode("utf-8", "replace"))


def binding():
    """The package gotoni: an installed one, else this repository's, with the libraries built here. Errors: GeoError."""
    if str(BINDING) not in sys.path:
        sys.path.append(str(BINDING))
    found = importlib.util.find_spec("gotoni")
    if found is not None and found.origin == str(BINDING / "gotoni" / "__init__.py"):
        for variable, library in LIBRARIES.items():
            if library.exists():
                os.environ.setdefault(variable, str(library))
    try:
        import gotoni
    except ImportError as error:
        raise GeoError(f"the Python package gotoni cannot be loaded: {error}") from error
    return gotoni
