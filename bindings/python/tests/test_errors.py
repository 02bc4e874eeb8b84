"""Every status is an exception of its own kind, in the library's words."""
import pickle
from typing import Callable

import pytest
from conftest import Clock

import gotoni
from gotoni import _abi, errors

KINDS = {
    "ARGUMENT": (gotoni.ArgumentError, ValueError),
    "RANGE": (gotoni.RangeError, ValueError),
    "UNKNOWN_SERVER": (gotoni.UnknownServerError, KeyError),
    "DUPLICATE_SERVER": (gotoni.DuplicateServerError, gotoni.GotoniError),
    "NO_SERVER": (gotoni.NoServerError, gotoni.GotoniError),
    "SATURATED": (gotoni.SaturatedError, gotoni.GotoniError),
    "CAPACITY": (gotoni.CapacityError, gotoni.GotoniError),
    "TICKET": (gotoni.TicketError, gotoni.GotoniError),
    "TICKET_ENDED": (gotoni.TicketEndedError, gotoni.TicketError),
    "UNKNOWN_POLICY": (gotoni.UnknownNameError, LookupError),
    "UNKNOWN_KNOB": (gotoni.UnknownNameError, LookupError),
    "BUFFER": (gotoni.GotoniError, Exception),  # handled inside, never seen
    "BLOCK_SIZE": (gotoni.BlockSizeError, gotoni.GotoniError),
    "UNKNOWN_PARENT": (gotoni.UnknownParentError, gotoni.GotoniError),
    "SNAPSHOT": (gotoni.SnapshotError, gotoni.GotoniError),
    "SNAPSHOT_VERSION": (gotoni.SnapshotError, gotoni.GotoniError),
    "MEMORY": (gotoni.OutOfMemoryError, MemoryError),
    "CORRUPT": (gotoni.CorruptError, gotoni.GotoniError),
    "UNTUNABLE": (gotoni.UntunableError, gotoni.GotoniError),
}


def test_every_status_has_a_kind() -> None:
    assert {f"GOTONI_E_{name}" for name in KINDS} == {name for name in vars(_abi) if name.startswith("GOTONI_E_")}


@pytest.mark.parametrize("name", KINDS)
def test_status_becomes_its_exception(name: str) -> None:
    code = getattr(_abi, f"GOTONI_E_{name}")
    error = errors.error_for(code)
    kind, base = KINDS[name]
    assert type(error) is kind
    assert isinstance(error, base)
    assert error.code == code
    assert str(error) == error.text == _abi.gotoni_status_text(code).decode()
    assert error.text


def test_an_unknown_status_still_is_an_error() -> None:
    assert type(errors.error_for(-999)) is gotoni.GotoniError


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.error_for(_abi.GOTONI_E_RANGE)))
    assert (type(error), error.code, str(error)) == (
        gotoni.RangeError,
        _abi.GOTONI_E_RANGE,
        str(errors.error_for(_abi.GOTONI_E_RANGE)),
    )


def stored_under_unknown_parent(router: gotoni.Router) -> None:
    router.kv_stored(1, [1], range(16), 16, parent=99)


RAISES: list[tuple[type[gotoni.GotoniError], Callable[[gotoni.Router], object]]] = [
    (gotoni.ArgumentError, lambda router: router.mark_server(1, "asleep")),  # type: ignore[arg-type]
    (gotoni.ArgumentError, lambda router: router.kv_stored(1, [1, 2], range(16), 16)),
    (gotoni.ArgumentError, lambda router: router.route_batch([[1]], sessions=[])),
    (gotoni.RangeError, lambda router: router.observe_rtt(1, 3_600_001)),
    (gotoni.RangeError, lambda router: router.observe_rtt(1, -1)),
    (gotoni.RangeError, lambda router: router.observe_rtt(1, float("nan"))),
    (gotoni.RangeError, lambda router: router.observe_rtt(1, float("inf"))),
    (gotoni.RangeError, lambda router: router.observe_metrics(1, kv_capacity_tokens=0)),
    (gotoni.RangeError, lambda router: router.observe_others(1, queued_tokens=9, owed_tokens=10)),
    (gotoni.UnknownServerError, lambda router: router.observe_others(4)),
    (gotoni.RangeError, lambda router: router.knobs.__setitem__("rtt_weight", -1)),
    (gotoni.RangeError, lambda router: router.knobs.__setitem__("rtt_weight", float("nan"))),
    (gotoni.UnknownServerError, lambda router: router.server(4)),
    (gotoni.UnknownServerError, lambda router: router.remove_server(4)),
    (gotoni.DuplicateServerError, lambda router: router.add_server(1)),
    (gotoni.NoServerError, lambda router: router.route([1], exclude=[1, 2, 3])),
    (gotoni.UnknownNameError, lambda router: setattr(router, "policy", "best")),
    (gotoni.UnknownNameError, lambda router: router.knobs["best"]),
    (gotoni.BlockSizeError, lambda router: router.kv_stored(1, [1], range(15), 15)),
    (gotoni.UnknownParentError, stored_under_unknown_parent),
    (gotoni.SnapshotError, lambda router: router.load_snapshot(b"")),
    (gotoni.SnapshotError, lambda router: router.load_snapshot(b"no snapshot at all, but long enough to look at")),
    (gotoni.SnapshotError, lambda router: router.load_snapshot(gotoni.Router(block_tokens=1).snapshot())),
]


@pytest.mark.parametrize(("kind", "call"), RAISES)
def test_the_router_raises(
    router: gotoni.Router, kind: type[gotoni.GotoniError], call: Callable[[gotoni.Router], object]
) -> None:
    with pytest.raises(kind):
        call(router)


def test_saturated_capacity_and_ended_tickets(clock: Clock) -> None:
    with gotoni.Router(max_servers=1, max_tickets=2, clock=clock) as router:
        router.add_server(1, max_requests=1)
        with pytest.raises(gotoni.CapacityError):
            router.add_server(2)
        ticket = router.route([1])
        with pytest.raises(gotoni.SaturatedError):
            router.route([1])
        router.update_server(1)
        other = router.route([1])
        with pytest.raises(gotoni.CapacityError):
            router.route([1])
        for open_ticket in (ticket, other):
            open_ticket.finish()
            with pytest.raises(gotoni.TicketEndedError):
                open_ticket.commit()


def test_a_ticket_of_another_router_is_refused(router: gotoni.Router) -> None:
    ticket = router.route([1])
    with gotoni.Router() as other:
        foreign = gotoni.Ticket(other, ticket._row)
        with pytest.raises(gotoni.TicketError):
            foreign.commit()
    ticket.finish()


def test_a_router_refuses_impossible_configurations() -> None:
    with pytest.raises(gotoni.RangeError):
        gotoni.Router(block_tokens=1025)
    with pytest.raises(gotoni.UnknownNameError):
        gotoni.Router(policy="best")


def test_every_method_of_a_closed_router_says_so(router: gotoni.Router) -> None:
    ticket = router.route([1])
    router.close()
    router.close()
    assert router.closed
    for call in (
        ticket.commit,
        ticket.first_token,
        ticket.progress,
        ticket.finish,
        router.check,
        router.servers,
        router.stats,
        router.prefix_stats,
        router.snapshot,
        router.clear,
        lambda: ticket.observe_cached_tokens(0),
        lambda: router.add_server(1),
        lambda: router.update_server(1),
        lambda: router.mark_server(1, "up"),
        lambda: router.remove_server(1),
        lambda: router.server(1),
        lambda: router.route([1]),
        lambda: router.route_batch([[1]]),
        lambda: router.explain([1]),
        lambda: router.observe_rtt(1, 1),
        lambda: router.observe_metrics(1),
        lambda: router.observe_others(1),
        lambda: router.kv_stored(1, [1], range(16), 16),
        lambda: router.kv_removed(1, [1]),
        lambda: router.kv_cleared(1),
        lambda: router.match([1]),
        lambda: router.insert(1, [1]),
        lambda: router.remove_prefix(1, [1]),
        lambda: router.clear_server(1),
        lambda: router.load_snapshot(b""),
        lambda: router.policy,
        lambda: setattr(router, "policy", "gorgo"),
        lambda: router.knobs["rtt_weight"],
        lambda: router.knobs.__setitem__("rtt_weight", 1),
    ):
        with pytest.raises(gotoni.ArgumentError, match="The router is closed"):
            call()
