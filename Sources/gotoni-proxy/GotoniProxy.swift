import ArgumentParser
import Glibc
import GotoniGateway
import Logging

/// The central proxy: sees every request, routes it over all servers, streams the answer back.
@main struct GotoniProxy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gotoni-proxy",
        abstract: "Routes OpenAI-style requests over LLM servers by what each one costs in time.",
        discussion: """
            Every option can also be set in the environment (GOTONI_QUEUE_TIMEOUT for --queue-timeout) and in a YAML file \
            (queue-timeout: 30). A flag wins over the environment, that over the file, that over the default. Secrets have \
            no flags: GOTONI_ADMIN_TOKEN, GOTONI_API_KEYS (comma-separated) and GOTONI_UPSTREAM_API_KEY.

            Example:
              gotoni-proxy --listen 127.0.0.1:8000 --server use=http://10.0.0.2:30000 --server euw=https://gpu.example.org/engine
            """,
        version: version)

    static let version = "0.1.0"

    @OptionGroup var options: ProxyOptions

    func run() async throws {
        let settings = try Settings(options)
        if options.printConfig {
            print(settings.yaml)
            return
        }
        try LogSetup.install(level: settings.logLevel, format: settings.logFormat)
        let logger = Logger(label: "gotoni-proxy")
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
            addresses = try await gateway.start()
        } catch {
            logger.critical("\(error)")
            throw ExitCode(1)
        }
        // Before the word that we listen, for whoever waits for that may want the file.
        if let pidFile = settings.pidFile { try PIDFile.write(pidFile) }
        defer { if let pidFile = settings.pidFile { PIDFile.remove(pidFile) } }
        let scheme = settings.gateway.tls == nil ? "http" : "https"
        StandardStream.output("gotoni-proxy listening on \(scheme)://\(addresses.data)\n")
        if let admin = addresses.admin { StandardStream.output("gotoni-proxy admin on \(scheme)://\(admin)\n") }
        let signal = await signals.next()
        logger.notice("stopping", metadata: ["signal": "\(signal)"])
        Task {
            // A second signal does not wait.
            let second = await signals.next()
            logger.warning("not waiting for requests under way", metadata: ["signal": "\(second)"])
            if let pidFile = settings.pidFile { PIDFile.remove(pidFile) }
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
