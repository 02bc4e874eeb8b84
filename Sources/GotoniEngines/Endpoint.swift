/// Which request shape a body has.
public enum Endpoint: UInt8, Sendable, CaseIterable {
    /// `/v1/chat/completions`: `messages`.
    case chat
    /// `/v1/completions`: `prompt`.
    case completions
    /// `/v1/responses`: `instructions` and `input`.
    case responses
    /// `/v1/embeddings`: `input`.
    case embeddings
    /// `/generate`, SGLang's own: `text` or `input_ids`.
    case generate

    /// The endpoint of a request target such as `/v1/chat/completions?beta=1`; nil: another one.
    public init?(path: some StringProtocol) {
        let found = path.utf8.withContiguousStorageIfAvailable { Self.named($0) }
        guard let endpoint = found ?? Array(path.utf8).withUnsafeBufferPointer({ Self.named($0) }) else { return nil }
        self = endpoint
    }

    /// Where requests of this shape are sent.
    public var path: StaticString {
        switch self {
        case .chat: "/v1/chat/completions"
        case .completions: "/v1/completions"
        case .responses: "/v1/responses"
        case .embeddings: "/v1/embeddings"
        case .generate: "/generate"
        }
    }

    private static func named(_ target: UnsafeBufferPointer<UInt8>) -> Endpoint? {
        let path = UnsafeBufferPointer(rebasing: target.prefix { $0 != UInt8(ascii: "?") })
        return allCases.first { endpoint in
            endpoint.path.utf8CodeUnitCount == path.count && endpoint.path.withUTF8Buffer { $0.elementsEqual(path) }
        }
    }
}
