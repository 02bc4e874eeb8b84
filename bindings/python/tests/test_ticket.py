"""The life of a ticket: by hand, by `with`, by `async with`, and when it is forgotten."""
import asyncio
import gc
import time
from typing import Iterator

import pytest
from conftest import Clock

import gotoni

PROMPT = list(range(64))


def outcomes(router: gotoni.Router) -> "dict[str, int]":
    stats = router.stats()
    counts = {name: getattr(stats, f"finished_{name}") for name in ("ok", "failed", "cancelled", "not_sent")}
    return {name: count for name, count in counts.items() if count}


def test_each_step_moves_the_load(router: gotoni.Router) -> None:
    ticket = router.route(PROMPT)

    def load() -> "tuple[int, int, int, int]":
        info = router.server(ticket.server)
        return info.queued_requests, info.queued_tokens, info.running_requests, info.running_tokens

    assert load() == (1, 64, 0, 0)
    ticket.commit()
    assert router.match(PROMPT) == [(ticket.server, 64)]
    assert load() == (1, 64, 0, 0)
    ticket.first_token()
    assert load() == (0, 0, 1, 64)
    ticket.progress()
    ticket.finish()
    ticket.finish("failed")  # the first one counts
    assert load() == (0, 0, 0, 0)
    assert outcomes(router) == {"ok": 1}


def test_every_step_takes_its_time_from_now_ns(router: gotoni.Router, clock: Clock) -> None:
    minute = 60_000_000_000
    ticket = router.route(PROMPT, now_ns=clock.ns)
    ticket.commit(now_ns=clock.ns + 9 * minute)
    ticket.first_token(now_ns=clock.ns + 18 * minute)
    ticket.progress(now_ns=clock.ns + 27 * minute)
    ticket.observe_cached_tokens(0, now_ns=clock.ns + 28 * minute)
    ticket.finish(now_ns=clock.ns + 36 * minute)
    assert outcomes(router) == {"ok": 1}  # though the knob ticket_silence_ms is ten minutes


def test_a_silent_ticket_expires(router: gotoni.Router, clock: Clock) -> None:
    ticket = router.route(PROMPT)
    clock.advance_ms(router.knobs["ticket_silence_ms"] + 1)
    with pytest.raises(gotoni.TicketEndedError):
        ticket.commit()
    ticket.finish()
    assert router.stats().expired == 1


def test_reported_cached_tokens_trim_what_was_believed(router: gotoni.Router) -> None:
    router.insert(1, PROMPT)
    ticket = router.route(PROMPT)
    assert ticket.matched_tokens == 64
    ticket.commit()
    ticket.observe_cached_tokens(16)
    with pytest.raises(gotoni.RangeError):
        ticket.observe_cached_tokens(65)
    ticket.finish()
    info = router.server(1)
    assert (info.predicted_cached_tokens, info.reported_cached_tokens, info.parity_reports) == (64, 16, 1)


def test_answers_teach_speeds(router: gotoni.Router) -> None:
    now = time.monotonic_ns()
    for round in range(400):
        tokens = range(round * 5_000, round * 5_000 + 200 + 31 * round % 1_000)
        ticket = router.route(tokens, exclude=[2, 3], now_ns=now)
        now += 300_000 * len(tokens)
        ticket.first_token(now_ns=now)
        now += 2_000_000_000
        ticket.observe_output_tokens(20, now_ns=now)
        ticket.finish(now_ns=now)
    info = router.server(1, now_ns=now)
    assert info.predictions == 400
    assert info.prefill_ms_per_token + info.reading_ms_per_token == pytest.approx(0.3, abs=0.04)
    assert info.decode_ms == pytest.approx(2_000, rel=0.1)
    ticket = router.route(range(900_000, 901_000), now_ns=now)
    assert ticket.predicted_last_token_ms > ticket.predicted_first_token_ms > 0
    ticket.finish("not_sent", now_ns=now)


def test_a_decision_cannot_be_changed(router: gotoni.Router) -> None:
    with router.route(PROMPT) as ticket:
        with pytest.raises(AttributeError):
            ticket.server = 5  # type: ignore[misc]
        with pytest.raises(AttributeError):
            ticket.anything = 5  # type: ignore[attr-defined]


def test_an_unknown_outcome_is_refused(router: gotoni.Router) -> None:
    ticket = router.route(PROMPT)
    with pytest.raises(gotoni.ArgumentError, match="'fine' is none of ok, failed, cancelled, not_sent"):
        ticket.finish("fine")  # type: ignore[arg-type]
    ticket.finish("not_sent")
    assert outcomes(router) == {"not_sent": 1}


# ===== with


def test_with_commits_and_finishes_ok(router: gotoni.Router) -> None:
    with router.route(PROMPT) as ticket:
        assert router.stats().committed == 1
        ticket.first_token()
    assert outcomes(router) == {"ok": 1}


def test_with_keeps_an_earlier_outcome(router: gotoni.Router) -> None:
    with router.route(PROMPT) as ticket:
        ticket.finish("not_sent")
    assert outcomes(router) == {"not_sent": 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError("broken pipe"), "failed"),
        (TimeoutError(), "failed"),
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (SystemExit(), "cancelled"),
    ],
)
def test_with_tells_failures_from_cancellations(router: gotoni.Router, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)):
        with router.route(PROMPT):
            raise error
    assert outcomes(router) == {outcome: 1}


def test_closing_a_generator_cancels(router: gotoni.Router) -> None:
    def stream() -> Iterator[int]:
        with router.route(PROMPT):
            yield 1
            yield 2

    chunks = stream()
    assert next(chunks) == 1
    chunks.close()
    assert outcomes(router) == {"cancelled": 1}


# ===== async with


def test_async_with_commits_and_finishes_ok(router: gotoni.Router) -> None:
    async def request() -> None:
        async with router.route(PROMPT) as ticket:
            assert router.stats().committed == 1
            await asyncio.sleep(0)
            ticket.first_token()

    asyncio.run(request())
    assert outcomes(router) == {"ok": 1}


def test_async_with_tells_failures_from_cancellations(router: gotoni.Router) -> None:
    async def request(error: "Exception | None") -> None:
        async with router.route(PROMPT):
            if error:
                raise error
            await asyncio.sleep(3600)

    async def both() -> None:
        with pytest.raises(OSError):
            await request(OSError())
        task = asyncio.create_task(request(None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(both())
    assert outcomes(router) == {"failed": 1, "cancelled": 1}


# ===== Forgotten


def test_a_forgotten_ticket_warns_and_gives_its_place_back(router: gotoni.Router) -> None:
    ticket = router.route(PROMPT)
    with pytest.warns(ResourceWarning, match="<Ticket server=1 .*> was never finished"):
        del ticket
        gc.collect()
    assert router.stats().open_tickets == 0
    assert outcomes(router) == {"cancelled": 1}


def test_a_ticket_may_outlive_its_router() -> None:
    router = gotoni.Router()
    router.add_server(1)
    ticket = router.route(PROMPT)
    router.close()
    del router, ticket
    gc.collect()  # no warning, no crash: the router took its tickets along
