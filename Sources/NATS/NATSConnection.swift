import CNATS
import Glibc

/// A connection that libnats makes anew by itself when it breaks. Any thread.
public final class NATSConnection: @unchecked Sendable {
    let raw: OpaquePointer
    /// Waits until there is a connection, at most `timeout` milliseconds. Nothing is kept to be sent later while there is none.
    ///
    /// `url`: as `nats://[USER[:PASSWORD]@]HOST[:PORT]` or `tls://…`; several servers of one cluster by commas. `name`: for NATS'
    /// own monitoring. `credentials`: a .creds file, a user's token and its key. The others are PEM files: an authority for the
    /// server's certificate instead of the system's; our own certificate and its key.
    public init(
        _ url: String, name: String, credentials: String?, authority: String?, certificate: String?, key: String?,
        timeout: Int64
    ) throws(NATSError) {
        var created: OpaquePointer?
        try NATSError.check(natsOptions_Create(&created))
        defer { natsOptions_Destroy(created) }
        try Self.setServers(url, created)
        try NATSError.check(natsOptions_SetName(created, name))
        if let credentials {
            try NATSError.check(natsOptions_SetUserCredentialsFromFiles(created, credentials, nil))
        }
        if let authority { try NATSError.check(natsOptions_LoadCATrustedCertificates(created, authority)) }
        if let certificate, let key {
            try NATSError.check(natsOptions_LoadCertificatesChain(created, certificate, key))
        }
        try NATSError.check(natsOptions_SetTimeout(created, timeout))
        try Self.setHabits(created)
        var raw: OpaquePointer?
        try NATSError.check(natsConnection_Connect(&raw, created))
        guard let raw else { throw NATSError(NATS_NO_MEMORY) }
        self.raw = raw
    }

    private static func setServers(_ url: String, _ created: OpaquePointer?) throws(NATSError) {
        var servers: [UnsafePointer<CChar>?] = []
        let copies = url.split(separator: ",").map { strdup(String($0)) }
        defer { for copy in copies { free(copy) } }
        for copy in copies { servers.append(UnsafePointer(copy)) }
        try NATSError.check(natsOptions_SetServers(created, &servers, Int32(servers.count)))
    }

    private static func setHabits(_ created: OpaquePointer?) throws(NATSError) {
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
