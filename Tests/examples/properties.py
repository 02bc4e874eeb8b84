"""What holds of a gateway, whatever it is made of."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

from gateways import CHAT, Gateway
from programs import Engine, chat, fresh_text, started, until
from wire import Broken, Raw, ask, request

Start = Callable[..., Gateway]
CONVERSATIONS, TURNS = 7, 4


@contextlib.contextmanager
def world(start: Start, policy: str = "gorgo", speed: str = "20") -> Iterator[tuple[Gateway, list[Engine]]]:
    engines = [Engine("--name", name, "--speed", speed) for name in "abc"]
    with started(*engines), start([engine.port for engine in engines], policy) as gateway:
        yield gateway, [*engines]


def conversations_stay_where_their_beginning_is(start: Start) -> None:
    """Of the tokens of seven conversations that take turns, engines find far more cached than round-robin lets them."""
    ours, turned = hit_share(start, "gorgo"), hit_share(start, "round-robin")
    print(f"    {start.__name__}: {ours:.0%} of prompt tokens cached, by round-robin {turned:.0%}")
    assert ours > 0.6 and ours > 2 * turned, (ours, turned)


def hit_share(start: Start, policy: str) -> float:
    cached = prompt = 0
    with world(start, policy) as (gateway, _):
        said = [[{"role": "system", "content": fresh_text(4000)}] for _ in range(CONVERSATIONS)]
        for turn in range(TURNS):
            for messages in said:
                messages.append({"role": "user", "content": fresh_text(200)})
                answer = ask(gateway.port, "POST", CHAT, {"model": "simulated", "max_tokens": 4, "messages": messages})
                assert answer.status == 200, answer
                told = answer.json()
                messages.append(told["choices"][0]["message"])
                prompt += told["usage"]["prompt_tokens"]
                cached += (told["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        status = gateway.until_quiet()
        assert status["finished_ok"] == status["routed"] == CONVERSATIONS * TURNS, status
    return cached / prompt


def a_killed_engine_is_avoided_until_it_is_back(start: Start) -> None:
    """No client notices: first others are tried, then it is not asked any more."""
    with world(start) as (gateway, engines):
        prompt = fresh_text(4000)
        assert gateway.chat(prompt).status == 200
        (home,) = (engine for engine in engines if engine.served())
        home.kill()
        began = gateway.status()["routed"]
        assert gateway.chat(prompt).status == 200
        assert gateway.until_quiet()["routed"] == began + 2, "it was not tried at the killed one, and then at another"
        gateway.until_up(2)
        began = gateway.status()["routed"]
        for _ in range(20):
            assert gateway.chat(fresh_text(400)).status == 200
        assert gateway.until_quiet()["routed"] == began + 20, "a killed engine is still asked"
        back = Engine("--name", home.line.split()[0], port=home.port)
        with started(back):
            gateway.until_up(3)
            # Of three idle servers the nearest by a hair gets all; so that it has to be this one, the others refuse.
            for engine in engines:
                if engine is not home:
                    engine.fault(status=503)
            assert gateway.chat(fresh_text(400)).status == 200 and back.served() == 1, "it does not serve again"


def clients_that_leave_leave_nothing(start: Start) -> None:
    """Neither a ticket nor work at an engine, whether they leave before the answer or in it."""
    with world(start, speed="1") as (gateway, engines):
        body = json.dumps(chat(fresh_text(400), 10_000, stream=True)).encode()
        for _ in range(3):
            with Raw(gateway.port, request("POST", CHAT, body)) as raw:
                raw.until(b"data: ")
        status = gateway.until_quiet()
        assert status["finished_cancelled"] == 3, status
        for engine in engines:
            engine.fault(hang=True)
        for _ in range(3):
            with Raw(gateway.port, request("POST", CHAT, body)):
                until("it waits", lambda: gateway.status()["open_tickets"] == 1)
            gateway.until_quiet()
        status = gateway.status()
        assert status["finished_cancelled"] == status["routed"] == 6, status
        for engine in engines:
            engine.fault(reset=True)
            until("nothing runs", lambda: engine.metric("num_running_reqs") == engine.metric("num_queue_reqs") == 0)


def an_answer_that_breaks_off_breaks_off(start: Start) -> None:
    """The client sees no end that is none, and the ticket is closed as failed."""
    with world(start) as (gateway, engines):
        for engine in engines:
            engine.fault(cut_after_chunks=3, count=1)
        try:
            answer = gateway.chat(fresh_text(400), 50, stream=True)
        except Broken as broken:
            assert b"data: " in broken.body, broken
        else:
            raise AssertionError(f"it seems complete: {answer}")
        status = gateway.until_quiet()
        assert (status["finished_failed"], status["routed"]) == (1, 1), status


def another_server_is_tried_before_the_first_byte(start: Start) -> None:
    """If one refuses, and if two do; if all do, the client learns it."""
    with world(start) as (gateway, engines):
        prompt, failed = fresh_text(4000), -1
        while engines:
            assert gateway.chat(prompt).status == 200
            status = gateway.until_quiet()
            assert status["finished_failed"] > failed, "those that refuse were not tried, although they have the prompt"
            failed = status["finished_failed"]
            (able,) = (engine for engine in engines if engine.served())
            able.fault(status=503)
            engines.remove(able)
        assert gateway.chat(prompt).status in (502, 503)
        gateway.until_quiet()


def without_servers_there_is_an_error_and_no_ticket(start: Start) -> None:
    with world(start) as (gateway, engines):
        for engine in engines:
            engine.kill()
        assert gateway.chat("x").status == 502
        gateway.until_up(0)
        answer = gateway.chat("x")
        assert answer.status == 503 and answer.json()["error"]["message"], answer
        gateway.until_quiet()


def tokens_pass_one_by_one(start: Start) -> None:
    """As far apart as the engine sends them, and the first long before the last."""
    tokens = 20
    with world(start, speed="1") as (gateway, engines):
        for engine in engines:
            engine.fault(slow=4)
        body = json.dumps(chat(fresh_text(400), tokens, stream=True)).encode()
        with Raw(gateway.port, request("POST", CHAT, body)) as raw:
            times: list[float] = []
            assert raw.head().status == 200
            for piece in raw.chunks():
                times += [time.monotonic()] * piece.count(b'"content":"')
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        assert len(times) >= tokens, times
        apart = sum(gap > 0.002 for gap in gaps)
        assert apart >= 0.8 * (tokens - 1), f"{apart} of {len(gaps)} tokens came apart from the one before"


def only_requests_for_models_are_passed_on(start: Start) -> None:
    """Engines' own endpoints are for nobody."""
    with world(start) as (gateway, _):
        assert ask(gateway.port, "GET", "/flush_cache").status == 404
        assert gateway.status()["routed"] == 0
