import FoundationEssentials
import GotoniCore
import Logging
import NATS
import NIOConcurrencyHelpers

// What the proxies of a group hold in common in a key-value bucket, as JSON that operators can read and write with `nats kv`:
//
//     servers.NAME   {"url": "http://10.0.0.2:30000", "draining": false}
//     policy         {"policy": "gorgo", "knobs": {"ms_per_token": 0.1}}    as far as operators have set it at run time
//     tuner          {"proxy": "9f1c", "phase": "on", …}                    who tunes, and what it has found (`SharedTuner`)
//
// The bucket decides: a proxy adds to it the servers that it was started with and that the bucket has never known, and
// follows it in all else.

/// A server that all proxies of the group have.
struct SharedServer: Codable, Equatable, Sendable {
    var url: String
    var draining = false
}

/// What decides, as far as operators have changed it.
struct SharedPolicy: Codable, Equatable, Sendable {
    var policy: String?
    var knobs: [String: Double] = [:]
}

/// What an operator has changed at this proxy, for all.
enum SharedChange: Sendable {
    case server(String, SharedServer)
    case removed(String)
    case policy(PolicyID)
    case knobs([String: Double])
    case tuner(TunerBrake)
}

enum SharedKey {
    static let policy = "policy"
    static let tuner = "tuner"
    private static let servers = "servers."

    /// Keys may hold letters, digits, `-` and `_`; what else is in a name is written as = and two hexadecimal digits.
    static func server(_ name: String) -> String {
        servers
            + name.utf8.map { byte in
                let character = Character(UnicodeScalar(byte))
                let isPlain =
                    character.isASCII && (character.isLetter || character.isNumber || "-_".contains(character))
                return isPlain ? String(character) : "=" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }.joined()
    }

    /// Nil: it is no server's.
    static func server(ofKey key: String) -> String? {
        guard key.hasPrefix(servers) else { return nil }
        return String(unescaping: key.utf8.dropFirst(servers.utf8.count), UInt8(ascii: "="))
    }
}

/// Follows the bucket, and writes to it what operators change here. On the thread of `Sharing`.
struct SharedGroup {
    private unowned let gateway: Gateway
    private let logger: Logger
    /// Not written yet, by key; nil: to be deleted.
    private var unwritten: [String: [UInt8]?] = [:]
    /// Of this watch.
    private var seen: Set<String> = []
    private var isComplete = false
    private var draining: Set<String> = []
    private var policy = SharedPolicy()
    private(set) var tuner: GroupTuner

    /// `proxy`: this one's name.
    init(_ gateway: Gateway, proxy: String, logger: Logger) {
        self.gateway = gateway
        self.logger = logger
        tuner = GroupTuner(proxy: proxy)
    }

    /// A watch begins.
    mutating func begin() {
        (seen, isComplete) = ([], false)
        tuner.begin()
    }

    mutating func note(_ changes: [SharedChange]) {
        for change in changes {
            switch change {
            case .server(let name, let server): put(SharedKey.server(name), server)
            case .removed(let name): unwritten.updateValue(nil, forKey: SharedKey.server(name))
            case .policy(let id):
                policy.policy = "\(id.name)"
                put(SharedKey.policy, policy)
            case .knobs(let knobs):
                policy.knobs.merge(knobs) { $1 }
                put(SharedKey.policy, policy)
            case .tuner(let brake):
                var isBraked = false
                withRouter { (router) throws(RouterError) in
                    // Another's weights may have come since it was pulled.
                    if router.tunerStatus().phase == .following { brake.pull(&router) }
                    isBraked = router.tunerStatus().phase == .frozen
                }
                if isBraked { tuner.takeOver() }
            }
        }
    }

    private mutating func put(_ key: String, _ value: some Encodable) {
        if let bytes = Self.bytes(value) { unwritten.updateValue(bytes, forKey: key) }
    }

    private static func bytes(_ value: some Encodable) -> [UInt8]? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(value)).map(Array.init)
    }

    private func withRouter(_ body: (inout Router) throws(RouterError) -> Void) {
        try? gateway.dispatcher.router.withRouter(body)
    }

    /// What cannot be written now stays to be written. Errors: of NATS.
    mutating func write(to bucket: NATSBucket) throws(NATSError) {
        for (key, value) in unwritten {
            if let value { try bucket.put(key, value) } else { try bucket.delete(key) }
            unwritten.removeValue(forKey: key)
        }
    }

    /// Tells what the tuner has found, if it is this proxy that tunes. Errors: of NATS.
    mutating func tellTuner(to bucket: NATSBucket) throws(NATSError) {
        // Before, another may be there that has not been heard of.
        guard isComplete else { return }
        var status: TunerStatus?
        withRouter { (router) throws(RouterError) in status = router.tunerStatus() }
        guard let status, let news = tuner.news(status), let bytes = Self.bytes(news) else { return }
        if let revision = try bucket.put(SharedKey.tuner, bytes, after: tuner.revision) {
            tuner.wrote(news, revision: revision)
        }
    }

    mutating func apply(_ event: NATSWatch.Event) {
        switch event {
        case .complete:
            isComplete = true
            for server in gateway.dispatcher.fleet.all where !seen.contains(SharedKey.server(server.name)) {
                put(SharedKey.server(server.name), SharedServer(url: "\(server.url)"))
            }
        case .changed(let key, let value, let revision):
            // What is still to be written comes later than this.
            guard unwritten[key] == nil else { return }
            seen.insert(key)
            if key == SharedKey.policy {
                follow(policy: value)
                followTuner()
            } else if key == SharedKey.tuner {
                follow(tuner: value, revision)
            } else if let name = SharedKey.server(ofKey: key) {
                follow(name, value)
            }
        }
    }

    private mutating func follow(_ name: String, _ value: [UInt8]?) {
        guard let value else {
            draining.remove(name)
            if gateway.removeServer(name: name) {
                logger.notice("an operator has removed this server from the group", metadata: ["server": "\(name)"])
            }
            return
        }
        guard let told = try? JSONDecoder().decode(SharedServer.self, from: Data(value)),
            let url = ServerURL(told.url)
        else { return refuse(SharedKey.server(name)) }
        if let server = gateway.dispatcher.fleet[name], server.url != url {
            logger.notice(
                "the group has this server at another address",
                metadata: ["server": "\(name)", "here": "\(server.url)", "group": "\(url)"])
            _ = gateway.removeServer(name: name)
        }
        if gateway.dispatcher.fleet[name] == nil {
            do {
                try gateway.addServer(name: name, url: url)
            } catch {
                logger.warning(
                    "a server of the group cannot be used", metadata: ["server": "\(name)", "why": "\(error)"])
                return
            }
        }
        guard told.draining != draining.contains(name) else { return }
        if told.draining { draining.insert(name) } else { draining.remove(name) }
        _ = gateway.drainServer(name: name, told.draining)
    }

    private mutating func follow(policy value: [UInt8]?) {
        guard let value else { return policy = SharedPolicy() }
        guard let told = try? JSONDecoder().decode(SharedPolicy.self, from: Data(value)) else {
            return refuse(SharedKey.policy)
        }
        policy = told
        do {
            let id = try told.policy.map(PolicyName.policy)
            let knobs = try ControlRoutes.knobs(told.knobs)
            try gateway.dispatcher.router.withRouter { (router) throws(RouterError) in
                if let id, router.policy != id { router.setPolicy(id) }
                for (knob, number) in knobs where router.value(of: knob) != number { try router.set(knob, to: number) }
            }
        } catch {
            logger.warning("the group's policy cannot be used", metadata: ["why": "\(error)"])
        }
    }

    private mutating func follow(tuner value: [UInt8]?, _ revision: UInt64) {
        let before = tuner.leader?.proxy
        let told = value.flatMap { try? JSONDecoder().decode(SharedTuner.self, from: Data($0)) }
        guard tuner.hear(told, revision: revision) else { return }
        if value != nil, told == nil { return refuse(SharedKey.tuner) }
        guard told != nil else {
            return withRouter { (router) throws(RouterError) in
                if router.tunerStatus().phase == .following { router.stopTuner() }
            }
        }
        if let leader = tuner.leader, leader.proxy != before, leader.phase != .off {
            logger.notice("another proxy tunes for the group", metadata: ["proxy": "\(leader.proxy)"])
        }
        followTuner()
    }

    private func followTuner() {
        guard let leader = tuner.leader else { return }
        do {
            try gateway.dispatcher.router.withRouter { (router) throws(RouterError) in try leader.lead(&router) }
        } catch {
            logger.notice(
                "the group's tuner is not followed: its weights are not for those that are set here",
                metadata: ["proxy": "\(leader.proxy)", "why": "\(error.text)"])
        }
    }

    private func refuse(_ key: String) {
        logger.warning("what the group's bucket holds cannot be read", metadata: ["key": "\(key)"])
    }
}
