import CNATS
import Glibc

/// Streams and key-value buckets of one connection. One thread at a time.
public final class NATSJetStream {
    fileprivate let raw: OpaquePointer
    private let connection: NATSConnection

    /// `timeout`: for each answer of the server, in milliseconds.
    public init(_ connection: NATSConnection, timeout: Int64) throws(NATSError) {
        var raw: OpaquePointer?
        var options = jsOptions()
        jsOptions_Init(&options)
        options.Wait = timeout
        try NATSError.check(natsConnection_JetStream(&raw, connection.raw, &options))
        guard let raw else { throw NATSError(NATS_NO_MEMORY) }
        (self.raw, self.connection) = (raw, connection)
    }

    deinit { jsCtx_Destroy(raw) }

    /// A stream of what is published under `subject`, which forgets the oldest beyond `bytes` and `seconds`. One of this name
    /// that is there already stays as it is: an operator may have chosen other limits, or copies of it. Gives the number of
    /// its last message.
    public func stream(_ name: String, subject: String, bytes: Int64, seconds: Int64) throws(NATSError) -> UInt64 {
        let copies = [strdup(name), strdup(subject)]
        defer { for copy in copies { free(copy) } }
        var subjects = [UnsafePointer(copies[1])]
        var info: UnsafeMutablePointer<jsStreamInfo>?
        var code = jsErrCode(0)
        let status = subjects.withUnsafeMutableBufferPointer { subjects in
            var configuration = jsStreamConfig()
            jsStreamConfig_Init(&configuration)
            configuration.Name = UnsafePointer(copies[0])
            configuration.Subjects = subjects.baseAddress
            configuration.SubjectsLen = 1
            configuration.MaxBytes = bytes
            configuration.MaxAge = seconds * 1_000_000_000
            configuration.Discard = js_DiscardOld
            configuration.Storage = js_FileStorage
            return js_AddStream(&info, raw, &configuration, nil, &code)
        }
        if status != NATS_OK {
            guard code == JSStreamNameExistErr else { throw NATSError(status, code) }
            try NATSError.check(js_GetStreamInfo(&info, raw, name, nil, &code), code)
        }
        defer { jsStreamInfo_Destroy(info) }
        return info?.pointee.State.LastSeq ?? 0
    }

    /// The messages of a stream in their order from number `first` on, those that are still there.
    public func subscribe(_ stream: String, subject: String, from first: UInt64) throws(NATSError) -> NATSSubscription {
        let name = strdup(stream)
        defer { free(name) }
        var options = jsSubOptions()
        jsSubOptions_Init(&options)
        options.Stream = UnsafePointer(name)
        options.Ordered = true
        options.Config.DeliverPolicy = first > 1 ? js_DeliverByStartSequence : js_DeliverAll
        options.Config.OptStartSeq = first > 1 ? first : 0
        var subscription: OpaquePointer?
        var code = jsErrCode(0)
        try NATSError.check(js_SubscribeSync(&subscription, raw, subject, nil, &options, &code), code)
        return try NATSSubscription(subscription, of: connection)
    }

    /// The bucket of this name; it is made if there is none, with the last value of each key.
    public func bucket(_ name: String) throws(NATSError) -> NATSBucket {
        var store: OpaquePointer?
        if js_KeyValue(&store, raw, name) != NATS_OK {
            let copy = strdup(name)
            defer { free(copy) }
            var configuration = kvConfig()
            kvConfig_Init(&configuration)
            configuration.Bucket = UnsafePointer(copy)
            configuration.History = 1
            try NATSError.check(js_CreateKeyValue(&store, raw, &configuration))
        }
        return try NATSBucket(store, of: self)
    }
}

/// A key-value bucket. Keys are letters, digits and `-/_=.`. One thread at a time.
public final class NATSBucket {
    private let raw: OpaquePointer
    private let stream: NATSJetStream

    init(_ raw: OpaquePointer?, of stream: NATSJetStream) throws(NATSError) {
        guard let raw else { throw NATSError(NATS_NO_MEMORY) }
        (self.raw, self.stream) = (raw, stream)
    }

    deinit { kvStore_Destroy(raw) }

    public func put(_ key: String, _ value: [UInt8]) throws(NATSError) {
        try NATSError.check(kvStore_Put(nil, raw, key, value, Int32(value.count)))
    }

    /// Puts it if the key's last change has the number `revision`; 0: if it has never had any. Gives the number of this change;
    /// nil: another one was before.
    public func put(_ key: String, _ value: [UInt8], after revision: UInt64) throws(NATSError) -> UInt64? {
        // `kvStore_Update` does the same, and does not say why it fails.
        let subject = "$KV.\(kvStore_Bucket(raw).map { String(cString: $0) } ?? "").\(key)"
        var options = jsPubOptions()
        jsPubOptions_Init(&options)
        options.ExpectLastSubjectSeq = revision
        options.ExpectNoMessage = revision == 0
        var acknowledged: UnsafeMutablePointer<jsPubAck>?
        var code = jsErrCode(0)
        let status = js_Publish(&acknowledged, stream.raw, subject, value, Int32(value.count), &options, &code)
        if code == JSStreamWrongLastSequenceErr { return nil }
        try NATSError.check(status, code)
        defer { jsPubAck_Destroy(acknowledged) }
        return acknowledged?.pointee.Sequence
    }

    public func delete(_ key: String) throws(NATSError) { try NATSError.check(kvStore_Delete(raw, key)) }

    /// All keys' last changes first, then each change as it comes.
    public func watch() throws(NATSError) -> NATSWatch {
        var watcher: OpaquePointer?
        try NATSError.check(kvStore_WatchAll(&watcher, raw, nil))
        return try NATSWatch(watcher, of: self)
    }
}

/// The changes of a bucket. One thread at a time.
public final class NATSWatch {
    public enum Event: Equatable, Sendable {
        /// `value` nil: it was deleted. `revision`: the change's number, which rises in a bucket.
        case changed(key: String, value: [UInt8]?, revision: UInt64)
        /// What was there when the watch began has been told.
        case complete
    }

    private let raw: OpaquePointer
    private let bucket: NATSBucket

    init(_ raw: OpaquePointer?, of bucket: NATSBucket) throws(NATSError) {
        guard let raw else { throw NATSError(NATS_NO_MEMORY) }
        (self.raw, self.bucket) = (raw, bucket)
    }

    deinit { kvWatcher_Destroy(raw) }

    /// Nil: nothing has come within `timeout` milliseconds, which is at least one.
    public func next(timeout: Int64) throws(NATSError) -> Event? {
        var entry: OpaquePointer?
        let status = kvWatcher_Next(&entry, raw, timeout)
        if status == NATS_TIMEOUT { return nil }
        try NATSError.check(status)
        guard let entry else { return .complete }
        defer { kvEntry_Destroy(entry) }
        let key = kvEntry_Key(entry).map { String(cString: $0) } ?? ""
        let revision = kvEntry_Revision(entry)
        guard kvEntry_Operation(entry) == kvOp_Put else { return .changed(key: key, value: nil, revision: revision) }
        let bytes = UnsafeRawBufferPointer(start: kvEntry_Value(entry), count: Int(kvEntry_ValueLen(entry)))
        return .changed(key: key, value: Array(bytes), revision: revision)
    }
}
