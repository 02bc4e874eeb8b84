"""A router may be shared by threads, and closed while they use it."""
import random
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor

from conftest import Clock

import gotoni


def test_threads_lose_no_request(router: gotoni.Router) -> None:
    threads, rounds = 4, 500

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(rounds):
            begin = chance.randrange(8) * 1000
            with router.route(array("I", range(begin, begin + 256))) as ticket:
                ticket.first_token()
                router.observe_rtt(ticket.server, chance.uniform(1, 50))
            router.explain([1, 2, 3])
            router.server(ticket.server)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    stats = router.stats()
    assert (stats.routed, stats.finished_ok, stats.open_tickets) == (threads * rounds, threads * rounds, 0)
    assert all(router.server(id).queued_tokens == router.server(id).running_tokens == 0 for id in (1, 2, 3))


def test_closing_under_load_ends_in_errors_not_in_a_crash() -> None:
    for _ in range(20):
        router = gotoni.Router()
        router.add_server(1)
        tokens = array("I", range(20_000))

        def work(router: gotoni.Router = router) -> str:
            while True:
                try:
                    router.route(tokens).finish()
                except gotoni.ArgumentError as error:
                    return str(error)

        with ThreadPoolExecutor(3) as pool:
            ends = [pool.submit(work) for _ in range(3)]
            time.sleep(0.002)
            router.close()
            assert {end.result(timeout=10) for end in ends} == {"The router is closed."}


def test_other_threads_run_while_the_library_works(clock: Clock) -> None:
    """The interpreter's lock is released during calls: a long one does not stop a short loop."""
    with gotoni.Router(clock=clock, memory_budget_bytes=1 << 30) as router:
        router.add_server(1, kv_capacity_tokens=2**64 - 1)
        tokens = array("I", bytes(4 * 16_000_000))
        ticks = 0
        stop = threading.Event()

        def tick() -> None:
            nonlocal ticks
            while not stop.wait(0.0005):
                ticks += 1

        ticker = threading.Thread(target=tick)
        ticker.start()
        before = ticks
        for _ in range(5):
            router.match(tokens)
        during = ticks - before
        stop.set()
        ticker.join()
        assert during > 15  # about 5 if the lock were held, more than 100 on a quiet machine
