import Foundation
import GotoniCore
import GotoniEngines
public import GotoniGateway
import Logging
import Yams

/// The configuration in force: flags over environment over file over defaults, one table for all four.
public struct Settings {
    public var gateway = GatewayConfiguration()
    var logLevel = Logger.Level.info
    var logFormat = LogFormat.text
    var pidFile: String?
    private let table: [Setting]

    /// `own`: what only this program has. Throws a sentence that names the setting and where it was set.
    init(
        _ options: GatewayOptions, own: [Setting],
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws {
        table = own + Self.shared
        let file = try options.config.map { try Self.read($0, table) } ?? [:]
        for setting in table {
            let name = "GOTONI_" + setting.key.uppercased().replacing("-", with: "_")
            let (values, source): ([String], String)
            if let given = setting.flag(options), !given.isEmpty {
                (values, source) = (given, "--\(setting.key)")
            } else if let given = environment[name] {
                let parts = setting.isList ? given.split(separator: ",").map { String($0).trimmed } : [given]
                (values, source) = (parts, name)
            } else if let given = file[setting.key] {
                (values, source) = (given, "\(setting.key) in \(options.config ?? "the file")")
            } else {
                continue
            }
            do {
                if !setting.isList, values.count != 1 { throw ServiceError("wants one value") }
                for value in values { try setting.set(&self, value) }
            } catch {
                throw ServiceError("\(source): \(error)")
            }
        }
        gateway.adminToken = try Self.secrets("GOTONI_ADMIN_TOKEN", environment).first
        gateway.apiKeys = try Self.secrets("GOTONI_API_KEYS", environment, isList: true)
        gateway.upstreamAPIKey = try Self.secrets("GOTONI_UPSTREAM_API_KEY", environment).first
        if let key = try Self.secrets("GOTONI_MESH_KEY", environment).first { gateway.mesh?.key = key }
        if (gateway.sharing?.certificate == nil) != (gateway.sharing?.key == nil) {
            throw ServiceError("--nats-cert and --nats-key belong together")
        }
        if (certificate == nil) != (key == nil) { throw ServiceError("--tls-cert and --tls-key belong together") }
        if let certificate, let key {
            gateway.tls = GatewayConfiguration.TLSFiles(certificateChain: certificate, privateKey: key)
        }
    }

    /// Without the line end that a file brings along; no empty ones. They go into header fields as they are.
    private static func secrets(_ name: String, _ environment: [String: String], isList: Bool = false) throws
        -> [String]
    {
        let text = environment[name] ?? ""
        let secrets = (isList ? text.split(separator: ",").map(String.init) : [text])
            .map(\.trimmed).filter { !$0.isEmpty }
        guard secrets.allSatisfy({ $0.utf8.allSatisfy { (0x21...0x7E).contains($0) } }) else {
            throw ServiceError("\(name): a secret is visible ASCII characters without spaces")
        }
        return secrets
    }

    fileprivate var certificate: String?
    fileprivate var tokenizer = "estimate"
    fileprivate var chatTemplate: String?
    fileprivate var key: String?

    private static func read(_ path: String, _ table: [Setting]) throws -> [String: [String]] {
        let text: String
        do {
            text = try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw ServiceError("cannot read \(path)")
        }
        let document: Any?
        do {
            document = try Yams.load(yaml: text)
        } catch {
            throw ServiceError("\(path) is not YAML: \(error)")
        }
        guard let document else { return [:] }
        guard let members = document as? [String: Any] else {
            throw ServiceError("\(path) must be a list of key: value")
        }
        var result: [String: [String]] = [:]
        for (key, value) in members {
            guard let setting = table.first(where: { $0.key == key }) else {
                throw ServiceError("\(path): there is no setting \(key)")
            }
            switch value {
            case let list as [Any] where setting.isList: result[key] = list.map { "\($0)" }
            case is [Any], is [String: Any], is NSNull: throw ServiceError("\(path): \(key) wants one value")
            default: result[key] = ["\(value)"]
            }
        }
        return result
    }

    /// Reads the files that the tokenizer needs. Throws a sentence.
    mutating func loadTokenizer() throws {
        gateway.tokenSources = try TokenizerFiles.sources(tokenizer, template: chatTemplate)
    }

    /// What `--print-config` prints; reading it back gives the same configuration. Secrets are not in it.
    var yaml: String {
        var lines: [String] = []
        for setting in table {
            let values = setting.show(self)
            if setting.isList {
                if values.isEmpty { continue }
                lines.append("\(setting.key):")
                lines += values.map { "  - \(Self.scalar($0))" }
            } else if let value = values.first {
                lines.append("\(setting.key): \(Self.scalar(value))")
            }
        }
        return lines.joined(separator: "\n")
    }

    private static func scalar(_ text: String) -> String {
        let plain = text.allSatisfy { $0.isLetter || $0.isNumber || ".-_/".contains($0) } && !text.hasPrefix("-")
        return plain && !text.isEmpty ? text : JSONText.quoted(text)
    }
}

/// One setting: its key (which is also the flag's and, in capitals, the variable's name), how it is read and shown.
public struct Setting: Sendable {
    var key: String
    var isList = false
    var flag: @Sendable (GatewayOptions) -> [String]?
    var set: @Sendable (inout Settings, String) throws -> Void
    var show: @Sendable (Settings) -> [String]

    /// One of a program's own; `given`: what its flag says, empty: nothing. `set` throws a sentence.
    public init(
        own key: String, isList: Bool = false, given: [String],
        set: @escaping @Sendable (inout Settings, String) throws -> Void,
        show: @escaping @Sendable (Settings) -> [String]
    ) {
        self.init(key: key, isList: isList, flag: { _ in given }, set: set, show: show)
    }

    init(
        key: String, isList: Bool = false, flag: @escaping @Sendable (GatewayOptions) -> [String]?,
        set: @escaping @Sendable (inout Settings, String) throws -> Void,
        show: @escaping @Sendable (Settings) -> [String]
    ) {
        (self.key, self.isList, self.flag, self.set, self.show) = (key, isList, flag, set, show)
    }

    /// The servers of a program that has no others.
    public static func servers(given: [String]) -> Setting {
        Setting(
            own: "server", isList: true, given: given, set: { try Parse.server($1, into: &$0.gateway.servers) },
            show: { $0.gateway.servers.map { "\($0.name)=\($0.url)" } })
    }

    /// The routing policy, under the name that the program has for it.
    public static func policy(own key: String, given: String?) -> Setting {
        Setting(
            own: key, given: given.map { [$0] } ?? [], set: { $0.gateway.policy = try PolicyName.policy($1) },
            show: { ["\($0.gateway.policy.name)"] })
    }
}

extension Setting {
    /// A file that the connection to NATS needs.
    static func natsFile(
        _ key: String, _ path: any WritableKeyPath<SharingConfiguration, String?> & Sendable, _ given: String?
    ) -> Setting {
        Setting(
            own: key, given: given.map { [$0] } ?? [],
            set: { settings, file in
                guard settings.gateway.sharing != nil else { throw ServiceError("it needs --nats") }
                guard FileManager.default.isReadableFile(atPath: file) else {
                    throw ServiceError("cannot read \(file)")
                }
                settings.gateway.sharing?[keyPath: path] = file
            }, show: { $0.gateway.sharing?[keyPath: path].map { [$0] } ?? [] })
    }
}

extension Settings {
    static let shared: [Setting] = [
        Setting(
            key: "listen", flag: { $0.listen.map { [$0] } }, set: { $0.gateway.listen = try Parse.address($1) },
            show: { ["\($0.gateway.listen)"] }),
        Setting(
            key: "admin-listen", flag: { $0.adminListen.map { [$0] } },
            set: { $0.gateway.adminListen = try Parse.address($1) },
            show: { $0.gateway.adminListen.map { ["\($0)"] } ?? [] }),
        Setting(
            key: "socket-mode", flag: { $0.socketMode.map { [$0] } },
            set: { $0.gateway.socketMode = try Parse.mode($1) },
            show: { [String($0.gateway.socketMode, radix: 8)] }),
        knob("ms-per-token", .msPerToken, { $0.msPerToken }),
        knob("running-cost-factor", .runningCostFactor, { $0.runningCostFactor }),
        Setting(
            key: "knob", isList: true, flag: { $0.knobs }, set: { try Parse.knob($1, into: &$0.gateway) },
            show: { settings in
                settings.gateway.knobs.filter { $0.0 != .msPerToken && $0.0 != .runningCostFactor }
                    .map { "\($0.0.info.name)=\($0.1)" }
            }),
        Setting(
            key: "tokenizer", flag: { $0.tokenizer.map { [$0] } }, set: { $0.tokenizer = $1 }, show: { [$0.tokenizer] }),
        time("tokenizer-timeout", \.tokenizerTimeout, { $0.tokenizerTimeout }, least: 1),
        Setting(
            key: "chat-template", flag: { $0.chatTemplate.map { [$0] } }, set: { $0.chatTemplate = $1 },
            show: { $0.chatTemplate.map { [$0] } ?? [] }),
        number("max-concurrent", \.maxConcurrent, 1...1_000_000, { $0.maxConcurrent }),
        number("max-queue", \.queueLimit, 0...100_000, { $0.maxQueue }),
        time("queue-timeout", \.queueTimeout, { $0.queueTimeout }),
        number("retries", \.retries, 0...10, { $0.retries }),
        time("connect-timeout", \.connectTimeout, { $0.connectTimeout }),
        time("first-byte-timeout", \.firstByteTimeout, { $0.firstByteTimeout }),
        time("idle-timeout", \.idleTimeout, { $0.idleTimeout }),
        time("request-timeout", \.requestTimeout, { $0.requestTimeout }, least: 100),
        time("keep-alive-timeout", \.keepAliveTimeout, { $0.keepAliveTimeout }, least: 100),
        time("upstream-keep-alive", \.upstreamKeepAlive, { $0.upstreamKeepAlive }),
        number("upstream-spare", \.upstreamSpare, 0...64, { $0.upstreamSpare }),
        Setting(
            key: "upstream-congestion", flag: { $0.upstreamCongestion.map { [$0] } },
            set: { $0.gateway.upstreamCongestion = try CongestionControl($1) },
            show: { $0.gateway.upstreamCongestion.map { [$0.name] } ?? [] }),
        time("drain-timeout", \.drainTimeout, { $0.drainTimeout }),
        number("max-body", \.maxBodyBytes, 1024...(1 << 30), { $0.maxBody }),
        number("max-connections", \.maxConnections, 1...1_000_000, { $0.maxConnections }),
        time("metrics-interval", \.metricsInterval, { $0.metricsInterval }),
        Setting(
            key: "metrics-path", flag: { $0.metricsPath.map { [$0] } },
            set: { $0.gateway.metricsPath = try Parse.path($1) }, show: { $0.gateway.metricsPath.map { [$0] } ?? [] }),
        Setting(
            key: "kv-events", flag: { $0.kvEvents.map { [$0] } },
            set: { $0.gateway.kvEvents = try Parse.kvEventPorts($1) },
            show: { $0.gateway.kvEvents.map { ["\($0)"] } ?? [] }),
        time("probe-interval", \.probeInterval, { $0.probeInterval }, least: 10),
        Setting(
            key: "probe-path", flag: { $0.probePath.map { [$0] } }, set: { $0.gateway.probePath = try Parse.path($1) },
            show: { [$0.gateway.probePath] }),
        time("probe-timeout", \.probeTimeout, { $0.probeTimeout }, least: 10),
        number("eject-after", \.ejectAfter, 1...1_000_000, { $0.ejectAfter }),
        number("unhealthy-after", \.unhealthyAfter, 1...1_000_000, { $0.unhealthyAfter }),
        time("slow-start", \.slowStart, { $0.slowStart }),
        Setting(
            key: "tls-cert", flag: { $0.tlsCert.map { [$0] } }, set: { $0.certificate = $1 },
            show: { $0.certificate.map { [$0] } ?? [] }),
        Setting(
            key: "tls-key", flag: { $0.tlsKey.map { [$0] } }, set: { $0.key = $1 }, show: { $0.key.map { [$0] } ?? [] }),
        Setting(
            key: "tls-insecure", isList: true, flag: { $0.tlsInsecure }, set: { $0.gateway.insecureServers.insert($1) },
            show: { $0.gateway.insecureServers.sorted() }),
        number("threads", \.threads, 0...256, { $0.threads }),
        truth("reuse-port", \.reusePort, { $0.reusePort }),
        number("request-log-size", \.requestLogSize, 1...1_000_000, { $0.requestLogSize }),
        truth("collect-metrics", \.collectsMetrics, { $0.collectMetrics }),
        number("block-tokens", \.router.blockTokens, 1...1024, { $0.blockTokens }),
        number("memory-budget", \.router.memoryBudgetBytes, 65_536...(32 << 30), { $0.memoryBudget }),
        number("default-kv-tokens", \.router.defaultKVCapacityTokens, 1...(1 << 40), { $0.defaultKvTokens }),
        number("seed", \.router.seed, 0...UInt64.max, { $0.seed }),
        Setting(
            key: "log-level", flag: { $0.logLevel.map { [$0] } },
            set: { $0.logLevel = try Parse.word($1, of: Logger.Level.allCases) }, show: { ["\($0.logLevel)"] }),
        Setting(
            key: "log-format", flag: { $0.logFormat.map { [$0] } },
            set: { $0.logFormat = try Parse.word($1, of: LogFormat.allCases) }, show: { ["\($0.logFormat)"] }),
        Setting(
            key: "pid-file", flag: { $0.pidFile.map { [$0] } }, set: { $0.pidFile = $1 },
            show: { $0.pidFile.map { [$0] } ?? [] }),
    ]

    private typealias Path<Value> = any WritableKeyPath<GatewayConfiguration, Value> & Sendable
    private typealias Flag = @Sendable (GatewayOptions) -> String?

    private static func number<Value: FixedWidthInteger & Sendable>(
        _ key: String, _ path: Path<Value>, _ bounds: ClosedRange<Value>, _ flag: @escaping Flag
    ) -> Setting {
        Setting(
            key: key, flag: { flag($0).map { [$0] } },
            set: { settings, text in
                settings.gateway[keyPath: path] = try Parse.number(text, bounds)
            }, show: { ["\($0.gateway[keyPath: path])"] })
    }

    /// `least`: in milliseconds.
    private static func time(
        _ key: String, _ path: Path<Nanoseconds>, _ flag: @escaping Flag, least: Double = 0
    ) -> Setting {
        Setting(
            key: key, flag: { flag($0).map { [$0] } },
            set: { $0.gateway[keyPath: path] = try Parse.time($1, least: least) },
            show: { [Parse.show($0.gateway[keyPath: path])] })
    }

    private static func truth(_ key: String, _ path: Path<Bool>, _ flag: @escaping Flag) -> Setting {
        Setting(
            key: key, flag: { flag($0).map { [$0] } }, set: { $0.gateway[keyPath: path] = try Parse.truth($1) },
            show: { ["\($0.gateway[keyPath: path])"] })
    }

    private static func knob(_ key: String, _ knob: Knob, _ flag: @escaping Flag) -> Setting {
        Setting(
            key: key, flag: { flag($0).map { [$0] } },
            set: { try Parse.knob("\(knob.info.name)=\($1)", into: &$0.gateway) },
            show: { settings in settings.gateway.knobs.filter { $0.0 == knob }.map { "\($0.1)" } })
    }
}

/// Texts to values; each throws a sentence.
public enum Parse {
    static func address(_ text: String) throws -> GatewayConfiguration.Address {
        guard let address = GatewayConfiguration.Address(text) else {
            throw ServiceError("\"\(text)\" is neither HOST:PORT nor unix:/PATH of at most 107 bytes")
        }
        return address
    }

    static func mode(_ text: String) throws -> UInt32 {
        let isOctal = text.utf8.allSatisfy { (0x30...0x37).contains($0) }
        guard isOctal, let mode = UInt32(text, radix: 8), mode <= 0o777 else {
            throw ServiceError("\"\(text)\" is not octal, from 0 to 777")
        }
        return mode
    }

    /// [NAME=]URL, to be added to `entries`.
    public static func server(_ text: String, into entries: inout [GatewayConfiguration.ServerEntry]) throws {
        var (name, address): (String?, Substring) = (nil, text[...])
        if let equals = text.firstIndex(of: "="), !text[..<equals].contains("/") {
            name = String(text[..<equals])
            address = text[text.index(after: equals)...]
        }
        let url = try url(String(address))
        let entry = GatewayConfiguration.ServerEntry(name: name ?? url.defaultName, url: url)
        if entries.contains(where: { $0.name == entry.name || $0.url == url }) {
            throw ServiceError("\(entry.name) is named twice")
        }
        entries.append(entry)
    }

    static func kvEventPorts(_ text: String) throws -> KVEventPorts {
        guard let ports = KVEventPorts(text) else {
            throw ServiceError("\"\(text)\" is not PORT[/REPLAY_PORT], two ports from 1 to 65535")
        }
        return ports
    }

    static func nats(_ text: String) throws -> SharingConfiguration {
        guard let sharing = SharingConfiguration(url: text) else {
            throw ServiceError("not nats://HOST[:PORT] or tls://HOST[:PORT], or several of these by comma")
        }
        return sharing
    }

    static func natsGroup(_ text: String, into gateway: inout GatewayConfiguration) throws {
        guard SharingConfiguration.isGroup(text) else {
            throw ServiceError("\"\(text)\" is not 1 to 32 letters, digits, - and _")
        }
        guard gateway.sharing != nil else { throw ServiceError("it needs --nats") }
        gateway.sharing?.group = text
    }

    public static func url(_ text: String) throws -> ServerURL {
        guard let url = ServerURL(text) else { throw ServiceError("\"\(text)\" is not http[s]://HOST[:PORT][/PREFIX]") }
        return url
    }

    public static func number<Value: FixedWidthInteger>(_ text: String, _ bounds: ClosedRange<Value>) throws -> Value {
        guard let value = Value(text), bounds.contains(value) else {
            throw ServiceError("\"\(text)\" is not a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }

    static func knob(_ text: String, into gateway: inout GatewayConfiguration) throws {
        let parts = text.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let knob = Knob.allCases.first(where: { "\($0.info.name)" == parts[0] }) else {
            let names = Knob.allCases.map { "\($0.info.name)" }.joined(separator: ", ")
            throw ServiceError("\"\(text)\" is not NAME=VALUE of a knob; there are \(names)")
        }
        guard let value = Double(parts[1]), knob.info.bounds.contains(value) else {
            let bounds = knob.info.bounds
            throw ServiceError("\(knob.info.name) must be a number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        gateway.knobs.removeAll { $0.0 == knob }
        gateway.knobs.append((knob, value))
    }

    /// 60, 60s, 500ms, 2m, 1h; a bare number is seconds.
    static func time(_ text: String, least: Double = 0) throws -> Nanoseconds {
        let units: [(String, Double)] = [("ms", 1), ("us", 0.001), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        var (number, scale) = (text[...], 1_000.0)
        if let unit = units.first(where: { text.hasSuffix($0.0) }) {
            number = text.dropLast(unit.0.count)
            scale = unit.1
        }
        guard let value = Double(number), value.isFinite, (0...86_400_000).contains(value * scale) else {
            throw ServiceError("\"\(text)\" is not a time such as 30s, 500ms or 2m, at most a day")
        }
        guard value * scale >= least else { throw ServiceError("\(text) is less than \(least) ms") }
        return Nanoseconds(milliseconds: value * scale)
    }

    static func show(_ time: Nanoseconds) -> String {
        let milliseconds = Double(time.rawValue) / 1_000_000
        return milliseconds >= 1_000 || milliseconds == 0 ? "\(milliseconds / 1_000)s" : "\(milliseconds)ms"
    }

    static func truth(_ text: String) throws -> Bool {
        switch text.lowercased() {
        case "true", "yes", "on", "1": true
        case "false", "no", "off", "0": false
        default: throw ServiceError("\"\(text)\" is neither true nor false")
        }
    }

    static func path(_ text: String) throws -> String {
        guard text.hasPrefix("/"), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw ServiceError("\"\(text)\" is not a path")
        }
        return text
    }

    static func word<Word: RawRepresentable<String>>(_ text: String, of all: [Word]) throws -> Word {
        guard let word = all.first(where: { $0.rawValue == text.lowercased() }) else {
            throw ServiceError("\"\(text)\" is none of " + all.map(\.rawValue).joined(separator: ", "))
        }
        return word
    }
}

extension String {
    var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
