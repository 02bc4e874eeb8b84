import GotoniCore
import GotoniEngines
import Logging
import NIOConcurrencyHelpers
import NIOPosix
import ZeroMQ

/// Follows the KV events of all servers that publish some, on one thread of its own. Any thread.
final class KVEventSubscriber: Sendable {
    private let dispatcher: Dispatcher
    private let ports: KVEventPorts
    private let logger: Logger
    private let context: ZMQContext
    private let thread = NIOThreadPool(numberOfThreads: 1)

    /// More servers are followed by their models.
    static let mostServers = 1_024
    /// A subscription, both ends of its monitor, a replay.
    private static let socketsPerServer = 4
    /// How often it is looked which servers there are, and which models they serve.
    private static let betweenLooks = Nanoseconds(milliseconds: 250)
    private static let longestWaitMs = 100

    /// Throws a sentence.
    init(_ dispatcher: Dispatcher, _ ports: KVEventPorts, logger: Logger) throws {
        self.dispatcher = dispatcher
        self.ports = ports
        self.logger = logger
        do {
            context = try ZMQContext(mostSockets: Int32(Self.mostServers * Self.socketsPerServer + 1))
        } catch {
            throw GatewayError("KV events cannot be listened to: \(error)")
        }
    }

    func start() {
        if dispatcher.tokens.sources.isEmpty {
            logger.warning(
                "KV events match prompts that are sent as token ids only: others are estimated (--tokenizer)")
        }
        thread.start()
        thread.submit { state in if state == .active { self.run() } }
    }

    /// Returns when the thread has ended.
    func stop() async {
        context.shutDown()
        try? await thread.shutdownGracefully()
    }

    private func run() {
        var feeds: [UInt64: KVEventFeed] = [:]
        var poll = ZMQPoll()
        let message = ZMQMessage()
        var lookedAt: Nanoseconds?
        var made: UInt64 = 0
        do throws(ZMQError) {
            // Waited for as well, for without any socket nobody would hear of the end.
            let idle = try ZMQSocket(.pair, in: context)
            while true {
                let now = Clock.now()
                if lookedAt.map({ now.since($0) >= Self.betweenLooks }) ?? true {
                    lookedAt = now
                    try look(&feeds, &made)
                }
                poll.removeAll()
                poll.add(idle)
                for feed in feeds.values { feed.add(to: &poll) }
                try poll.wait(milliseconds: Self.longestWaitMs)
                for feed in Array(feeds.values) {
                    do throws(ZMQError) {
                        try feed.turn(message, now: Clock.now())
                    } catch {
                        // It is made anew with the next look.
                        feeds[feed.server.id.rawValue] = nil
                        try note(error, at: feed.server)
                    }
                }
            }
        } catch {
            if error != .closed { logger.error("KV events are no longer followed", metadata: ["why": "\(error)"]) }
        }
        for server in dispatcher.fleet.all { server.state.withLockedValue { $0.kvEvents = nil } }
    }

    /// Follows servers that are new, and leaves those that are gone or serve another model.
    private func look(_ feeds: inout [UInt64: KVEventFeed], _ made: inout UInt64) throws(ZMQError) {
        let servers = dispatcher.fleet.all.filter { $0.role != .peer }.prefix(Self.mostServers)
        var left = feeds
        feeds = [:]
        for server in servers {
            let (model, isVLLM) = server.state.withLockedValue { ($0.model, $0.report?.kind == .vllm) }
            guard let model else {
                server.state.withLockedValue { $0.kvEvents = KVEventFigures() }
                continue
            }
            if let feed = left.removeValue(forKey: server.id.rawValue) {
                if feed.model == model, feed.adapterIsModel == isVLLM {
                    feeds[server.id.rawValue] = feed
                    continue
                }
                // The names of its prompts have changed.
                try? dispatcher.router.withRouter { (router) throws(RouterError) in
                    try router.clearPrefixes(of: server.id, now: Clock.now())
                }
            }
            made += 1
            do throws(ZMQError) {
                feeds[server.id.rawValue] = try KVEventFeed(
                    server, dispatcher.router, ports, model: model, adapterIsModel: isVLLM, in: context, number: made,
                    logger: logger)
            } catch {
                try note(error, at: server)
            }
        }
    }

    /// Shown in the status. Errors: closed.
    private func note(_ error: ZMQError, at server: Server) throws(ZMQError) {
        if error == .closed { throw error }
        var figures = KVEventFigures()
        figures.account.problem = "\(error)"
        server.state.withLockedValue { $0.kvEvents = figures }
    }
}
