import CNATS
import Glibc

/// How to reach NATS.
public struct NATSOptions: Sendable, Equatable {
    /// As `nats://[USER[:PASSWORD]@]HOST[:PORT]` or `tls://…`; several servers of one cluster by commas.
    public var url: String
    /// The connection's name, for NATS' own monitoring.
    public var name = ""
    /// A .creds file: a user's token and its key.
    public var credentials: String?
    /// PEM files. An authority for the server's certificate instead of the system's; our own certificate and its key.
    public var authority: String?
    public var certificate: String?
    public var key: String?

    public init(url: String) { self.url = url }
}

/// A connection that libnats makes anew by itself when it breaks. Any thread.
public final class NATSConnection: @unchecked Sendable {
    let raw: OpaquePointer
    /// Waits until there is a connection, at most `timeout` milliseconds. Nothing is kept to be sent later while there is none.
    public init(_ options: NATSOptions, timeout: Int64) throws(NATSError) {
        var created: OpaquePointer?
        try NATSError.check(natsOptions_Create(&created))
        defer { natsOptions_Destroy(created) }
        try Self.set(options, timeout, created)
        var raw: OpaquePointer?
        try NATSError.check(natsConnection_Connect(&raw, created))
        guard let raw else { throw NATSError(NATS_NO_MEMORY) }
        self.raw = raw
    }

    private static func set(
        _ options: NATSOptions, _ timeout: Int64, _ created: OpaquePointer?
    ) throws(NATSError) {
        var servers: [UnsafePointer<CChar>?] = []
        let copies = options.url.split(separator: ",").map { strdup(String($0)) }
        defer { for copy in copies { free(copy) } }
        for copy in copies { servers.append(UnsafePointer(copy)) }
        try NATSError.check(natsOptions_SetServers(created, &servers, Int32(servers.count)))
        try NATSError.check(natsOptions_SetName(created, options.name))
        if let file = options.credentials {
            try NATSError.check(natsOptions_SetUserCredentialsFromFiles(created, file, nil))
        }
        if let file = options.authority {
            try NATSError.check(natsOptions_LoadCATrustedCertificates(created, file))
        }
        if let certificate = options.certificate, let key = options.key {
            try NATSError.check(natsOptions_LoadCertificatesChain(created, certificate, key))
        }
        try NATSError.check(natsOptions_SetTimeout(created, timeout))
        // For ever, and soon.
        try NATSError.check(natsOptions_SetMaxReconnect(created, -1))
        try NATSError.check(natsOptions_SetReconnectWait(created, 250))
        try NATSError.check(natsOptions_SetReconnectJitter(created, 100, 100))
        // A way that is cut without a word is noticed within some three seconds, and a server that takes nothing as well.
        try NATSError.check(natsOptions_SetPingInterval(created, 1_000))
        try NATSError.check(natsOptions_SetMaxPingsOut(created, 2))
        try NATSError.check(natsOptions_SetWriteDeadline(created, 2_000))
        try NATSError.check(natsOptions_SetSendAsap(created, true))
        // Errors of subscriptions are seen where they are read; else libnats writes them to the standard error.
        try NATSError.check(natsOptions_SetErrorHandler(created, { _, _, _, _ in }, nil))
    }

    deinit {
        natsConnection_Close(raw)
        natsConnection_Destroy(raw)
    }

    public var isConnected: Bool { natsConnection_Status(raw) == NATS_CONN_STATUS_CONNECTED }
    /// How often it was made anew: what the server kept for the old one may be gone.
    public var reconnects: UInt64 {
        var statistics: OpaquePointer?
        guard natsStatistics_Create(&statistics) == NATS_OK else { return 0 }
        defer { natsStatistics_Destroy(statistics) }
        var (messagesIn, bytesIn, messagesOut, bytesOut) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        var count: UInt64 = 0
        natsConnection_GetStats(raw, statistics)
        natsStatistics_GetCounts(statistics, &messagesIn, &bytesIn, &messagesOut, &bytesOut, &count)
        return count
    }

    /// Hands over to be sent. Errors: among others that there is no connection.
    public func publish(_ subject: String, _ bytes: [UInt8]) throws(NATSError) {
        try NATSError.check(natsConnection_Publish(raw, subject, bytes, Int32(bytes.count)))
    }

    /// Waits until what was handed over has arrived, at most `timeout` milliseconds.
    public func flush(timeout: Int64) throws(NATSError) {
        try NATSError.check(natsConnection_FlushTimeout(raw, timeout))
    }

    public func subscribe(_ subject: String) throws(NATSError) -> NATSSubscription {
        var subscription: OpaquePointer?
        try NATSError.check(natsConnection_SubscribeSync(&subscription, raw, subject))
        return try NATSSubscription(subscription, of: self)
    }
}
