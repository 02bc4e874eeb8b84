"""Where three prompts go, and why.

    PYTHONPATH=bindings/python GOTONI_LIBRARY=build/lib/libgotoni.so.0 python3 examples/python/route.py
"""
from __future__ import annotations

from array import array

import gotoni

# Three servers, ever farther away. The ids are yours; the round trip times would come from your probes.
SERVERS = {1: ("Frankfurt", 37.0), 2: ("Virginia", 279.0), 3: ("Tokyo", 456.0)}

# Token ids, as your tokenizer gives them. array('I') is read in place; any iterable of integers works.
SYSTEM_PROMPT = array("I", range(20_000))
QUESTION = array("I", range(50_000, 50_400))
OTHER_PROMPT = array("I", range(90_000, 90_300))


def show(title: str, router: gotoni.Router, tokens: array[int]) -> None:
    """Prints the table behind the decision that `route` would take now; asking changes nothing."""
    candidates, _ = router.explain(tokens)
    print(f"\n{title}: {len(tokens):,} tokens")
    print(f"  {'server':<12}{'cached':>8}{'rtt':>9}{'prefill':>9}{'queued':>9}{'running':>9}{'= cost':>10}")
    for row in candidates:
        print(
            f"  {SERVERS[row.server][0]:<12}{row.matched_tokens:>8,}{row.rtt_cost_ms:>6.0f} ms"
            f"{row.prefill_cost_ms:>6.0f} ms{row.queued_cost_ms:>6.0f} ms{row.running_cost_ms:>6.0f} ms"
            f"{row.cost_ms:>7.0f} ms{'   <- chosen' if row.chosen else ''}"
        )


def main() -> None:
    with gotoni.Router() as router:
        for id, (_, rtt_ms) in SERVERS.items():
            router.add_server(id)
            router.observe_rtt(id, rtt_ms)

        # Nothing is cached anywhere, nobody is busy: the nearest server wins.
        show("A long prompt", router, SYSTEM_PROMPT)
        with router.route(SYSTEM_PROMPT) as first:  # entering the block says: it is being sent
            # It waits in Frankfurt now, so a new prompt pays for that wait there and goes elsewhere.
            show("Another prompt, while the first one waits", router, OTHER_PROMPT)
            with router.route(OTHER_PROMPT) as other:
                other.first_token()
            first.first_token()
        # Leaving the block said: it is finished.

        # The system prompt is cached in Frankfurt: only the new question must be computed there.
        show("The long prompt again, with a question", router, SYSTEM_PROMPT + QUESTION)
        with router.route(SYSTEM_PROMPT + QUESTION) as ticket:
            ticket.first_token()
            print(f"\nFound {ticket.matched_tokens:,} of {ticket.prompt_tokens:,} tokens cached.")


if __name__ == "__main__":
    main()
