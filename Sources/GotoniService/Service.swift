import ArgumentParser
import Glibc
public import GotoniGateway
import Logging

/// A process around one gateway: settings, logs, signals, the pid file.
public struct Service: Sendable {
    let name: String
    let own: [Setting]

    /// Of all programs.
    public static let version = "0.1.0"

    /// How every option can be given: for the text of `--help`.
    public static let manners = """
        Every option can also be set in the environment (GOTONI_QUEUE_TIMEOUT for --queue-timeout) and in a YAML file \
        (queue-timeout: 30). A flag wins over the environment, that over the file, that over the default.
        """

    /// `own`: the settings that only this program has.
    public init(_ name: String, own: [Setting]) {
        self.name = name
        self.own = own
    }

    /// Runs until a signal ends it. `prepare` sees the settings before they are used. Throws what is wrong with them, and
    /// an `ExitCode` for what was logged. `pipeline`: as with `Gateway.start`.
    public func run(
        _ options: GatewayOptions, prepare: (inout Settings) throws -> Void = { _ in },
        pipeline: Gateway.Pipeline? = nil
    ) async throws {
        var settings = try Settings(options, own: own)
        try prepare(&settings)
        settings.gateway.version = Self.version
        if options.printConfig {
            print(settings.yaml)
            return
        }
        do {
            try settings.loadTokenizer()
        } catch {
            throw ValidationError("\(error)")
        }
        try LogSetup.install(level: settings.logLevel, format: settings.logFormat)
        let logger = Logger(label: name)
        signal(SIGPIPE, SIG_IGN)
        OpenFiles.raiseLimit()
        let signals = Signals([SIGTERM, SIGINT])
        let gateway: Gateway
        do {
            gateway = try Gateway(settings.gateway, logger: logger)
        } catch {
            throw ValidationError("\(error)")
        }
        let addresses: (data: String, admin: String?)
        do {
            addresses = try await gateway.start(pipeline)
        } catch {
            logger.critical("\(error)")
            throw ExitCode(1)
        }
        // Before the word that we listen, for whoever waits for that may want the file.
        let pidFile = settings.pidFile
        if let pidFile { try PIDFile.write(pidFile) }
        defer { if let pidFile { PIDFile.remove(pidFile) } }
        let scheme = settings.gateway.tls == nil ? "http://" : "https://"
        func url(_ address: String) -> String { address.hasPrefix("unix:") ? address : scheme + address }
        StandardStream.output("\(name) listening on \(url(addresses.data))\n")
        if let admin = addresses.admin { StandardStream.output("\(name) admin on \(url(admin))\n") }
        let signal = await signals.next()
        logger.notice("stopping", metadata: ["signal": "\(signal)"])
        Task {
            // A second signal does not wait.
            let second = await signals.next()
            logger.warning("not waiting for requests under way", metadata: ["signal": "\(second)"])
            if let pidFile { PIDFile.remove(pidFile) }
            Glibc.exit(1)
        }
        let clean = await gateway.stop()
        let left = gateway.leftovers
        logger.notice(
            "stopped",
            metadata: ["requests": "\(left.requests)", "tickets": "\(left.tickets)", "waiting": "\(left.waiting)"])
        if !clean { throw ExitCode(1) }
    }
}
