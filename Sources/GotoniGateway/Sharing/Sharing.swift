import GotoniCore
import Logging
import NIOConcurrencyHelpers
import NIOPosix

/// How proxies share what they know. Nil in `GatewayConfiguration`: this one is alone.
public struct SharingConfiguration: Sendable {
    /// As `nats://[USER[:PASSWORD]@]HOST[:PORT]` or `tls://…`; several servers of one NATS by commas.
    public var url: String
    /// A .creds file: a user's token and its key.
    public var credentials: String?
    /// PEM files: an authority for NATS' certificate instead of the system's; our own certificate and its key.
    public var authority: String?
    public var certificate: String?
    public var key: String?
    /// Proxies of one group share.
    public var group = "gotoni"

    /// Nil: that is no URL of NATS.
    public init?(url: String) {
        let servers = url.split(separator: ",", omittingEmptySubsequences: false)
        guard servers.allSatisfy({ $0.hasPrefix("nats://") && $0.count > 7 || $0.hasPrefix("tls://") && $0.count > 6 }),
            url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return nil }
        self.url = url
    }

    /// 1 to 32 letters, digits, `-` and `_`: they go into names of subjects, streams and buckets.
    public static func isGroup(_ name: String) -> Bool {
        (1...32).contains(name.utf8.count)
            && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
    }

    /// The servers, without users and passwords.
    public var servers: String {
        url.split(separator: ",").map { server in
            guard let at = server.lastIndex(of: "@"), let scheme = server.firstRange(of: "://") else {
                return String(server)
            }
            return String(server[..<scheme.upperBound] + server[server.index(after: at)...])
        }.joined(separator: ",")
    }

    var prompts: String { "gotoni.\(group).prompts" }
    var loads: String { "gotoni.\(group).loads" }
    var stream: String { "gotoni-\(group)-prompts" }
    var bucket: String { "gotoni-\(group)" }
}

/// Tells the other proxies of the group what this one learns and applies what they tell, over NATS (`SharingLoop`), on one thread
/// of its own; nobody on the way of a request waits for it. Any thread.
final class Sharing: Sendable {
    let configuration: SharingConfiguration
    /// Another one after every start.
    let proxy: UInt64
    var name: String { String(proxy, radix: 16) }
    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let inbox = NIOLockedValueBox(Inbox())

    private struct Inbox {
        var mail = Mail()
        var figures = SharingFigures()
        var isStopping = false
    }

    /// What other threads leave for the loop.
    struct Mail {
        var prompts: [ToldPrompt] = []
        /// Keys of servers; 0: all.
        var emptied: [UInt64] = []
        var changes: [SharedChange] = []
        /// Prompts that came faster than they were taken.
        var lost: UInt64 = 0
    }

    /// Further ones are lost, until the loop has taken them.
    private static let mostPrompts = 8_192
    private static let mostChanges = 1_024

    /// `proxy`: random.
    init(_ configuration: SharingConfiguration, proxy: UInt64) {
        self.configuration = configuration
        self.proxy = proxy
    }

    var figures: SharingFigures { inbox.withLockedValue(\.figures) }

    /// A prompt goes to `server` now. `chain`: digests of its blocks.
    func note(_ chain: [UInt64], at server: Server) {
        let prompt = ToldPrompt(server: server.key, chain: chain)
        inbox.withLockedValue { inbox in
            guard inbox.mail.prompts.count < Self.mostPrompts else { return inbox.mail.lost += 1 }
            inbox.mail.prompts.append(prompt)
        }
    }

    /// What `server` held is gone; nil: what all of them held.
    func noteEmptied(_ server: Server?) {
        inbox.withLockedValue {
            if $0.mail.emptied.count < Self.mostChanges { $0.mail.emptied.append(server?.key ?? 0) }
        }
    }

    /// An operator has changed something here, for all.
    func tell(_ change: SharedChange) {
        inbox.withLockedValue { if $0.mail.changes.count < Self.mostChanges { $0.mail.changes.append(change) } }
    }

    /// Why no tuner may be started here now; nil: it may.
    func refusesTuner() -> String? {
        let figures = figures
        guard figures.isConnected else {
            return "NATS cannot be reached: whether another proxy of group \(configuration.group) tunes is not known"
        }
        return tunerElsewhere.map {
            "proxy \($0) tunes for group \(configuration.group): start it there, or freeze it first, here or there"
        }
    }

    /// The name of another proxy that tunes now and was heard lately.
    var tunerElsewhere: String? {
        let figures = figures
        guard let tuner = figures.tuner, tuner.phase == .on, tuner.proxy != name, figures.hearsTuner else { return nil }
        return tuner.proxy
    }

    /// Servers and policy of `gateway` follow the group's from now on.
    func start(_ gateway: Gateway, logger: Logger) {
        thread.start()
        thread.submit { [unowned gateway] state in
            guard state == .active else { return }
            let loop = SharingLoop(self, gateway, logger: logger)
            while !self.inbox.withLockedValue(\.isStopping) {
                loop.turn(now: Clock.now())
                self.inbox.withLockedValue { $0.figures = loop.figures }
            }
            loop.leave()
        }
    }

    func takeMail() -> Mail {
        inbox.withLockedValue { inbox in
            defer { inbox.mail = Mail() }
            return inbox.mail
        }
    }

    /// Returns when the thread has ended, and the others were told.
    func stop() async {
        inbox.withLockedValue { $0.isStopping = true }
        try? await thread.shutdownGracefully()
    }
}

/// What sharing has done.
struct SharingFigures: Equatable, Sendable {
    var isConnected = false
    /// What is wrong; empty: nothing.
    var trouble = ""
    /// Other proxies that were heard lately.
    var siblings = 0
    /// The group's, as far as it is known; and whether the proxy that tunes was heard lately, or may not have had time to be.
    var tuner: SharedTuner?
    var hearsTuner = false
    /// Milliseconds from the first connection until what the stream held was applied; nil: not yet.
    var catchUpMs: Double?
    /// Messages and their bytes, without NATS around them.
    var messagesTold: UInt64 = 0
    var bytesTold: UInt64 = 0
    var messagesHeard: UInt64 = 0
    var bytesHeard: UInt64 = 0
    /// Of these bytes, those of prompts.
    var promptBytesTold: UInt64 = 0
    /// Prompts, and blocks of them.
    var promptsTold: UInt64 = 0
    var blocksTold: UInt64 = 0
    var promptsHeard: UInt64 = 0
    /// Prompts that were never told, because they came too fast.
    var promptsLost: UInt64 = 0
    /// Messages that did not follow what was heard before, could not be read, or were dropped by libnats because they came
    /// too fast.
    var gaps: UInt64 = 0
    var unreadable: UInt64 = 0
    var dropped: UInt64 = 0
    /// Messages that wait to be applied.
    var behind = 0
    var reconnects: UInt64 = 0
}
