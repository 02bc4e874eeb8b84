import Glibc
import GotoniCore
import Logging
import NATS
import NIOConcurrencyHelpers
import NIOCore

/// Sharing over NATS, turn by turn, on the thread of `Sharing`:
///
///     gotoni.GROUP.prompts   a stream, which keeps the last of them: who joins reads it from its beginning (`SiblingPrompts`)
///     gotoni.GROUP.loads     messages that nobody keeps (`SiblingLoads`)
///     gotoni-GROUP           a key-value bucket: servers, policy, tuner (`SharedServer`, `SharedPolicy`, `SharedTuner`)
///
/// Whatever cannot be had is done without: this proxy goes on with what it knows, and shares again when NATS is back.
final class SharingLoop {
    private let sharing: Sharing
    private let configuration: SharingConfiguration
    private unowned let gateway: Gateway
    private let dispatcher: Dispatcher
    private let logger: Logger
    private(set) var figures = SharingFigures()

    private var connection: NATSConnection?
    private var links: Links?
    /// Of the stream: the number of the next message that is wanted.
    private var next: UInt64 = 1
    private var began: Nanoseconds?
    private var siblings = Siblings()
    private var log = SiblingLog()
    private var emptied: [UInt64] = []
    /// When prompts were told last.
    private var toldPromptsTime: Nanoseconds?
    /// Loads told last; when it was looked what they are, and when all of them were told.
    private var toldLoads: [UInt64: Load] = [:]
    private var lookedAtLoads: Nanoseconds?
    private var toldAllLoads: Nanoseconds?
    /// Servers where others' loads have changed, by `ServerKey`.
    private var changed: Set<UInt64> = []
    /// Troubles that were logged since there was none: the same ones come again and again.
    private var complaints: Set<String> = []
    private var group: SharedGroup
    private var watchedAt: Nanoseconds?
    /// When the router was told of the others' loads, and whether that was of none.
    private var observedAt: Nanoseconds?
    private var hasObservedNone = true

    /// What a connection has given.
    private struct Links {
        var reconnects: UInt64
        var began: Nanoseconds
        var prompts: NATSSubscription
        var loads: NATSSubscription
        var bucket: NATSBucket
        var watch: NATSWatch
        /// The number of the last message when this began: up to there it is catching up.
        var last: UInt64
        var droppedBefore: Int
    }

    private static let connectTimeout: Int64 = 2_000
    private static let answerTimeout: Int64 = 2_000
    private static let pauseUs: UInt32 = 250_000
    /// Some hundred thousand prompts, and ten minutes, after which caches hold others.
    private static let streamBytes: Int64 = 128 << 20
    private static let streamSeconds: Int64 = 600
    /// Of one turn, so that what is ours to tell does not wait.
    private static let mostPerTurn = 256
    private static let mostEmptied = 1_024
    private static let mostComplaints = 16
    /// For prompts; what else there is to hear or to tell waits as long.
    private static let waitMs: Int64 = 3
    private static let betweenLooks = Nanoseconds(milliseconds: 100)
    /// Messages that wait in libnats.
    private static let mostWaiting: (messages: Int32, bytes: Int32) = (65_536, 64 << 20)

    init(_ sharing: Sharing, _ gateway: Gateway, logger: Logger) {
        self.sharing = sharing
        self.gateway = gateway
        self.logger = logger
        configuration = sharing.configuration
        dispatcher = gateway.dispatcher
        group = SharedGroup(gateway, proxy: sharing.name, logger: logger)
    }

    /// Tells and hears what there is; waits a moment if there is nothing.
    func turn(now: Nanoseconds) {
        let mail = sharing.takeMail()
        figures.promptsLost += mail.lost
        for prompt in mail.prompts { log.add(prompt, now: now) }
        emptied = (emptied + mail.emptied).suffix(Self.mostEmptied)
        group.note(mail.changes)
        do throws(NATSError) {
            let connection = try connected()
            guard connection.isConnected else { return stayAlone("NATS cannot be reached", now: now) }
            if links?.reconnects != connection.reconnects { links = try link(connection, now: now) }
            guard let links else { return }
            try tellPrompts(connection, now: now)
            try tellLoads(connection, now: now)
            try group.write(to: links.bucket)
            try look(links, now: now)
            try hearLoads(links, now: now)
            observeOthers(now: now)
            // What this waits for: it is what the next turn of a conversation is decided by.
            try hearPrompts(links, now: now)
            if !complaints.isEmpty { logger.notice("NATS is there: what is known is shared") }
            complaints = []
            (figures.isConnected, figures.trouble, figures.reconnects) = (true, "", connection.reconnects)
        } catch {
            let isRefused = connection == nil && error.isBrokenOff && configuration.url.contains("tls://")
            stayAlone(
                isRefused ? "\(error): NATS perhaps does not take our certificate, or wants one" : "\(error)", now: now)
        }
        figures.siblings = siblings.count(now: now)
    }

    /// The others need not wait until they miss this one.
    func leave() {
        guard let connection, connection.isConnected, links != nil else { return }
        var loads = SiblingLoads(proxy: sharing.proxy)
        loads.isLeaving = true
        try? tell(connection, loads)
        try? connection.flush(timeout: 500)
    }

    private func stayAlone(_ trouble: String, now: Nanoseconds) {
        if complaints.count < Self.mostComplaints, complaints.insert(trouble).inserted {
            logger.warning("nothing is shared with other proxies", metadata: ["why": "\(trouble)"])
        }
        (figures.isConnected, figures.trouble) = (false, trouble)
        links = nil
        observeOthers(now: now)
        usleep(Self.pauseUs)
    }

    // MARK: Connecting

    /// The connection, also if it is broken now: libnats makes it anew.
    private func connected() throws(NATSError) -> NATSConnection {
        if let connection { return connection }
        let made = try NATSConnection(
            configuration.url, name: "gotoni-proxy \(sharing.name)", credentials: configuration.credentials,
            authority: configuration.authority, certificate: configuration.certificate, key: configuration.key,
            timeout: Self.connectTimeout)
        connection = made
        return made
    }

    private func link(_ connection: NATSConnection, now: Nanoseconds) throws(NATSError) -> Links {
        let reconnects = connection.reconnects
        let jetStream = try NATSJetStream(connection, timeout: Self.answerTimeout)
        let last = try jetStream.stream(
            configuration.stream, subject: configuration.prompts, bytes: Self.streamBytes, seconds: Self.streamSeconds)
        // Another stream than before: its numbers begin anew.
        if last + 1 < next { next = 1 }
        if began == nil { began = now }
        let prompts = try jetStream.subscribe(configuration.stream, subject: configuration.prompts, from: next)
        try prompts.limit(messages: Self.mostWaiting.messages, bytes: Self.mostWaiting.bytes)
        let loads = try connection.subscribe(configuration.loads)
        try loads.limit(messages: Self.mostWaiting.messages, bytes: Self.mostWaiting.bytes)
        let bucket = try jetStream.bucket(configuration.bucket)
        group.begin()
        let watch = try bucket.watch()
        // What was told meanwhile has gone nowhere.
        log.tellAnew()
        toldAllLoads = nil
        return Links(
            reconnects: reconnects, began: now, prompts: prompts, loads: loads, bucket: bucket, watch: watch,
            last: last, droppedBefore: Int(figures.dropped))
    }

    // MARK: Telling

    private func tellPrompts(_ connection: NATSConnection, now: Nanoseconds) throws(NATSError) {
        if let toldPromptsTime, now.since(toldPromptsTime) < interval { return }
        guard log.hasNews || !emptied.isEmpty else { return }
        toldPromptsTime = now
        // What does not fit into one message now goes with the next.
        while let server = emptied.first {
            try publish(connection, configuration.prompts, SiblingPrompts.emptied(server, by: sharing.proxy))
            emptied.removeFirst()
        }
        if log.hasNews {
            var bytes = ByteBuffer()
            let lost = log.lost
            let written = log.write(
                of: sharing.proxy, blockTokens: dispatcher.configuration.router.blockTokens, into: &bytes)
            try publish(connection, configuration.prompts, bytes)
            figures.promptBytesTold += UInt64(bytes.readableBytes)
            figures.promptsTold += UInt64(written.prompts)
            figures.blocksTold += UInt64(written.blocks)
            figures.promptsLost += log.lost - lost
        }
    }

    private func tellLoads(_ connection: NATSConnection, now: Nanoseconds) throws(NATSError) {
        // A look takes as long as there are servers.
        if let lookedAtLoads, now.since(lookedAtLoads) < interval { return }
        lookedAtLoads = now
        let loads = ownLoads(now: now)
        if toldAllLoads.map({ now.since($0) >= Siblings.heartbeat }) ?? true {
            try tell(connection, SiblingLoads(proxy: sharing.proxy, loads))
            toldAllLoads = now
        } else if loads != toldLoads {
            try tell(connection, SiblingLoads(proxy: sharing.proxy, changing: toldLoads, into: loads))
        }
        toldLoads = loads
    }

    /// Between two messages of one kind, now.
    private var interval: Nanoseconds { Siblings.interval(siblings: figures.siblings) }

    private func ownLoads(now: Nanoseconds) -> [UInt64: Load] {
        var own: [UInt64: Load] = [:]
        for server in dispatcher.fleet.all where server.state.withLockedValue({ $0.inFlight > 0 }) {
            let info = try? dispatcher.router.withRouter { (router) throws(RouterError) in
                try router.info(server.id, now: now)
            }
            if let load = info?.own, load.requests > 0 { own[server.key] = load }
        }
        return own
    }

    private func tell(_ connection: NATSConnection, _ loads: SiblingLoads) throws(NATSError) {
        var bytes = ByteBuffer()
        loads.write(into: &bytes)
        try publish(connection, configuration.loads, bytes)
    }

    private func publish(_ connection: NATSConnection, _ subject: String, _ bytes: ByteBuffer) throws(NATSError) {
        try connection.publish(subject, Array(bytes.readableBytesView))
        figures.messagesTold += 1
        figures.bytesTold += UInt64(bytes.readableBytes)
    }

    // MARK: Hearing

    private func hearPrompts(_ links: Links, now: Nanoseconds) throws(NATSError) {
        var timeout = Self.waitMs
        for _ in 0..<Self.mostPerTurn {
            let isThere = try links.prompts.next(timeout: timeout) { _, message, number in
                if number >= next { next = number + 1 }
                var bytes = ByteBuffer(bytes: message)
                guard SiblingPrompts.proxy(of: bytes) != sharing.proxy else { return }
                heard(bytes.readableBytes) { () throws(MeshError) in
                    switch try siblings.hear(prompts: &bytes, now: now) {
                    case .prompts(let prompts, let blockTokens):
                        figures.promptsHeard += UInt64(prompts.count)
                        // Digests mean the same only where blocks are the same.
                        if blockTokens == dispatcher.configuration.router.blockTokens { hold(prompts, now: now) }
                    case .emptied(let key): forget(key, now: now)
                    }
                }
            }
            if !isThere { break }
            timeout = 0
        }
        figures.behind = links.prompts.waiting
        figures.dropped = UInt64(links.droppedBefore + links.prompts.dropped + links.loads.dropped)
        if figures.catchUpMs == nil, next > links.last, let began {
            figures.catchUpMs = now.since(began).milliseconds
        }
    }

    private func hold(_ prompts: [ToldPrompt], now: Nanoseconds) {
        let servers = dispatcher.fleet.byKey
        for prompt in prompts {
            if let server = servers[prompt.server] { dispatcher.hold([prompt.chain], at: server, now: now) }
        }
    }

    private func forget(_ key: UInt64?, now: Nanoseconds) {
        let server = key.flatMap { dispatcher.fleet.byKey[$0] }
        // It may be one that is not here.
        if key == nil || server != nil { _ = try? dispatcher.clearPrefixes(of: server, now: now) }
    }

    private func hearLoads(_ links: Links, now: Nanoseconds) throws(NATSError) {
        for _ in 0..<Self.mostPerTurn {
            let isThere = try links.loads.next(timeout: 0) { _, message, _ in
                var bytes = ByteBuffer(bytes: message)
                guard SiblingLoads.proxy(of: bytes) != sharing.proxy else { return }
                heard(bytes.readableBytes) { () throws(MeshError) in
                    changed.formUnion(try siblings.hear(loads: &bytes, now: now))
                }
            }
            if !isThere { break }
        }
    }

    private func heard(_ bytes: Int, _ read: () throws(MeshError) -> Void) {
        figures.messagesHeard += 1
        figures.bytesHeard += UInt64(bytes)
        do throws(MeshError) {
            try read()
        } catch {
            if error == .gap { figures.gaps += 1 } else { figures.unreadable += 1 }
        }
    }

    /// Tells the router what the others have at servers where that has changed, and now and then at all, for what is old counts
    /// less; and forgets who is gone.
    private func observeOthers(now: Nanoseconds) {
        if !changed.isEmpty {
            let servers = dispatcher.fleet.byKey
            observe(siblings.loads(at: changed, now: now), at: changed.compactMap { servers[$0] }, now: now)
            changed = []
        }
        if let observedAt, now.since(observedAt) < Siblings.longestInterval { return }
        observedAt = now
        siblings.forget(now: now)
        // Once more when nobody is left.
        let isAlone = siblings.count(now: now) == 0
        if isAlone, hasObservedNone { return }
        hasObservedNone = isAlone
        observe(siblings.loads(now: now), at: dispatcher.fleet.all, now: now)
    }

    private func observe(_ loads: [UInt64: Load], at servers: [Server], now: Nanoseconds) {
        for server in servers {
            let load = loads[server.key] ?? Load()
            try? dispatcher.router.withRouter { (router) throws(RouterError) in
                try router.observeOthers(server.id, load, now: now)
            }
        }
    }

    // MARK: The bucket

    private func look(_ links: Links, now: Nanoseconds) throws(NATSError) {
        if let watchedAt, now.since(watchedAt) < Self.betweenLooks { return }
        watchedAt = now
        for _ in 0..<Self.mostPerTurn {
            guard let event = try links.watch.next(timeout: 1) else { return try tellTuner(links, now: now) }
            group.apply(event)
        }
    }

    private func tellTuner(_ links: Links, now: Nanoseconds) throws(NATSError) {
        try group.tellTuner(to: links.bucket)
        figures.tuner = group.tuner.held
        let proxy = figures.tuner.flatMap { UInt64($0.proxy, radix: 16) }
        figures.hearsTuner =
            now.since(links.began) < Siblings.silent || proxy.map { siblings.isThere($0, now: now) } ?? false
    }
}
