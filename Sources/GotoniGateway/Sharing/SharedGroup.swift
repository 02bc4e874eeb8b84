import FoundationEssentials
import GotoniCore
import Logging
import NATS
import NIOConcurrencyHelpers

// What the proxies of a group hold in common in a key-value bucket, as JSON that operators can read and write with `nats kv`:
//
//     servers.NAME   {"url": "http://10.0.0.2:30000", "draining": false}
//     policy         {"policy": "gorgo", "knobs": {"ms_per_token": 0.1}}    as far as operators have set it at run time
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
}

enum SharedKey {
    static let policy = "policy"
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
    private var draining: Set<String> = []
    private var policy = SharedPolicy()

    init(_ gateway: Gateway, logger: Logger) {
        self.gateway = gateway
        self.logger = logger
    }

    /// A watch begins.
    mutating func begin() { seen = [] }

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
            }
        }
    }

    private mutating func put(_ key: String, _ value: some Encodable) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { return }
        unwritten.updateValue(Array(data), forKey: key)
    }

    /// What cannot be written now stays to be written. Errors: of NATS.
    mutating func write(to bucket: NATSBucket) throws(NATSError) {
        for (key, value) in unwritten {
            if let value { try bucket.put(key, value) } else { try bucket.delete(key) }
            unwritten.removeValue(forKey: key)
        }
    }

    mutating func apply(_ event: NATSWatch.Event) {
        switch event {
        case .complete:
            for server in gateway.dispatcher.fleet.all where !seen.contains(SharedKey.server(server.name)) {
                put(SharedKey.server(server.name), SharedServer(url: "\(server.url)"))
            }
        case .changed(let key, let value):
            // What is still to be written comes later than this.
            guard unwritten[key] == nil else { return }
            seen.insert(key)
            if key == SharedKey.policy {
                follow(policy: value)
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

    private func refuse(_ key: String) {
        logger.warning("what the group's bucket holds cannot be read", metadata: ["key": "\(key)"])
    }
}
