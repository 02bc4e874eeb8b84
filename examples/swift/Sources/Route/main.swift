// Three servers in three regions; who gets which prompt, and why.
//
//     swift run --package-path examples/swift

import GotoniCore

/// Any clock that counts nanoseconds and does not jump.
let clock = ContinuousClock()
let start = clock.now
func now() -> Nanoseconds {
    let (seconds, attoseconds) = (clock.now - start).components
    return Nanoseconds(UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000))
}

let regions: [(id: ServerID, name: String, rtt: UInt64)] = [
    (ServerID(1), "near", 37_000_000), (ServerID(2), "far", 279_000_000), (ServerID(3), "farther", 456_000_000),
]

let router = try SharedRouter()
try router.withRouter { (router) throws(RouterError) in
    for region in regions {
        try router.add(ServerConfiguration(id: region.id), now: now())
        try router.observeRTT(region.id, region.rtt, now: now())
    }
}

/// Token ids of a prompt; a real gateway uses the engine's tokenizer.
func prompt(system: Int, question: Int) -> [UInt32] {
    (0..<4_000).map { UInt32(system * 100_000 + $0) } + (0..<200).map { UInt32(900_000 + question * 1_000 + $0) }
}

func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
}

print("prompt                server  cached of tokens     cost ms")
for (label, tokens) in [
    ("system 1, question 1", prompt(system: 1, question: 1)),
    ("system 1, question 2", prompt(system: 1, question: 2)),
    ("system 2, question 1", prompt(system: 2, question: 1)),
    ("system 2, question 2", prompt(system: 2, question: 2)),
] {
    let decision = try router.route(tokens.span, now: now())
    // Send it to decision.server here; then say what happened.
    if let ticket = decision.ticket {
        try router.withRouter { (router) throws(RouterError) in try router.commit(ticket, now: now()) }
    }
    let name = regions.first { $0.id == decision.server }?.name ?? "?"
    let cost = decision.cost.total / 1_000_000
    print(label, pad(name, 7), pad("\(decision.matchedTokens) of \(decision.promptTokens)", 17), pad("\(cost)", 11))
    // The requests stay unfinished, so each one makes its server dearer for the next.
}
