import GotoniCore
import GotoniEngines

/// One server's KV events on their way into the router: reads the messages, brings them in order, applies them, keeps the
/// account. No socket and no clock: `KVEventFeed` brings messages, and asks for the replays that are wanted.
struct KVEventIntake {
    private let server: ServerID
    private let router: SharedRouter
    private var reader: KVEventReader
    private(set) var stream: KVEventStream
    private(set) var account = KVEventAccount()
    /// The engine has layers that keep a part of a prompt only: what a prompt finds is less than the others hold, so its
    /// events are not applied.
    private var hasParts = false

    /// `model` and `adapterIsModel`: see `KVEventReader`.
    init(_ server: ServerID, _ router: SharedRouter, model: String, adapterIsModel: Bool, hasReplay: Bool) {
        self.server = server
        self.router = router
        reader = KVEventReader(model: model, adapterIsModel: adapterIsModel)
        stream = KVEventStream(hasReplay: hasReplay)
    }

    // MARK: What comes

    mutating func live(_ number: UInt64, _ message: UnsafeRawBufferPointer, now: Nanoseconds) {
        account.lastMessage = now
        guard let time = time(of: message) else { return }
        follow(stream.live(number, time: time), message, now: now)
    }

    mutating func replayed(_ number: UInt64, _ message: UnsafeRawBufferPointer, now: Nanoseconds) {
        guard let time = time(of: message) else { return }
        follow(stream.replayed(number, time: time), message, now: now)
    }

    mutating func replayEnded(now: Nanoseconds) { if stream.replayEnded() { forget(now: now) } }
    mutating func replayFailed(now: Nanoseconds) { if stream.replayFailed() { forget(now: now) } }
    mutating func askedForReplay() { stream.askedForReplay() }
    mutating func connected(now: Nanoseconds) { if stream.connected() { forget(now: now) } }
    /// The router has forgotten what the server holds, for another reason.
    mutating func forgotten() { stream.forgotten() }

    /// Something else than a numbered message came.
    mutating func note(unreadable reason: String) {
        account.unreadable += 1
        account.reason = reason
        account.problem = reason
    }

    // MARK: What is done with it

    /// Nil: it is none. The stream will miss it, and so ask for it again or forget.
    private mutating func time(of message: UnsafeRawBufferPointer) -> Double? {
        do throws(KVEventError) {
            return try reader.time(of: message)
        } catch {
            note(unreadable: "\(error.text)")
            return nil
        }
    }

    private mutating func follow(
        _ verdict: KVEventStream.Verdict, _ message: UnsafeRawBufferPointer, now: Nanoseconds
    ) {
        switch verdict {
        case .ignore: return
        case .forget: forget(now: now)
        case .forgetAndApply:
            forget(now: now)
            apply(message, now: now)
        case .apply: apply(message, now: now)
        }
    }

    private mutating func forget(now: Nanoseconds) {
        hasParts = false
        clear(now: now)
    }

    private func clear(now: Nanoseconds) {
        try? router.withRouter { (router) throws(RouterError) in try router.clearPrefixes(of: server, now: now) }
    }

    private mutating func apply(_ message: UnsafeRawBufferPointer, now: Nanoseconds) {
        let (router, server) = (router, server)
        var refusal: (error: RouterError, blockTokens: Int)?
        var (refused, taken, isCleared, isNameless) = (UInt64(0), 0, false, false)
        var hasParts = hasParts
        do throws(KVEventError) {
            try reader.read(message) { (event) throws(KVEventError) in
                if event.kind == .stored {
                    isNameless = isNameless || event.bearing == .nameless
                    hasParts = hasParts || event.bearing == .part
                }
                guard event.bearing == .counts, !hasParts || event.kind == .cleared else { return }
                do throws(RouterError) {
                    try Self.apply(event, to: router, server, now: now)
                    if event.kind == .stored { taken += 1 }
                    if event.kind == .cleared { isCleared = true }
                } catch {
                    refusal = (error, event.blockTokens)
                    refused += 1
                }
            }
            account.problem = hasParts ? Self.parts : nil
            if hasParts, !self.hasParts { clear(now: now) }
            self.hasParts = hasParts
        } catch {
            note(unreadable: "\(error.text)")
            // What of it was applied and what was not cannot be told.
            forget(now: now)
            stream.missed()
        }
        if isCleared { stream.cleared() }
        // Whether these are still there nobody will say.
        if isNameless { stream.missed() }
        guard let refusal else { return }
        account.refused += refused
        account.reason =
            refusal.error == .blockSize
            ? "the engine's blocks of \(refusal.blockTokens) tokens are no multiple of the router's, "
                + "\(router.configuration.blockTokens) (--block-tokens)" : "\(refusal.error.text)"
        if taken == 0, refusal.error == .blockSize { account.problem = account.reason }
        stream.missed()
    }

    private static let parts =
        "the engine has layers that keep a part of a prompt only, such as a window: its events do not say what a prompt finds"

    private static func apply(
        _ event: borrowing KVEvent, to router: SharedRouter, _ server: ServerID, now: Nanoseconds
    ) throws(RouterError) {
        let hashes = event.hashes
        switch event.kind {
        case .stored:
            let tokens = event.tokens
            try router.stored(
                on: server, hashes: hashes.span, tokens: tokens.span, blockTokens: event.blockTokens,
                parent: event.parent, namespace: event.namespace, now: now)
        case .removed:
            try router.withRouter { (router) throws(RouterError) in
                try router.removed(on: server, hashes: hashes.span, now: now)
            }
        case .cleared:
            try router.withRouter { (router) throws(RouterError) in
                try router.clearPrefixes(of: server, now: now)
            }
        }
    }
}
