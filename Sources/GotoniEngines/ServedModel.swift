private import FoundationEssentials

/// The model that an engine serves, as `GET /v1/models` names it: the first one, for adapters come after it.
public struct ServedModel: Equatable, Sendable {
    public var name: String

    private static let mostNameBytes = 1 << 10

    /// Nil: it is no such answer, or names none.
    public init?(_ json: UnsafeRawBufferPointer) {
        struct Answer: Decodable {
            struct Model: Decodable { var id: String }
            var data: [Model]
        }
        guard json.count <= EngineReport.mostBytes,
            let answer = try? JSONDecoder().decode(Answer.self, from: Data(json)), let first = answer.data.first,
            (1...Self.mostNameBytes).contains(first.id.utf8.count)
        else { return nil }
        name = first.id
    }
}
