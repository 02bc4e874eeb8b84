import NIOHTTP1

/// How often a request has been forwarded between nodes: once at most, and only a node of the mesh can say so.
///
/// A node that forwards writes `x-lb-hop: 1` and the mesh's key. Whoever does not know the key comes from outside: what it
/// says about hops is ignored, and these fields are never passed on to an engine.
enum Hop {
    static let field: StaticString = "x-lb-hop"
    static let keyField: StaticString = "x-lb-key"
    /// The number of the arrow in a trace, while one runs where it was forwarded.
    static let flowField: StaticString = "x-lb-flow"
    static let most = 1

    /// A node has forwarded this.
    static func isFromMesh(_ head: HTTPRequestHead, key: String) -> Bool {
        guard !key.isEmpty, let given = head.headers.first(name: "\(keyField)") else { return false }
        return AccessRules.equal(given, key)
    }

    /// Hops of a node's forward; nil: too many, or no number.
    static func count(_ head: HTTPRequestHead) -> Int? {
        guard let text = head.headers.first(name: "\(field)"), let hops = Int(text), (0...most).contains(hops),
            "\(hops)" == text
        else {
            return nil
        }
        return hops
    }

    /// Of a node's forward.
    static func flow(_ head: HTTPRequestHead) -> UInt64? {
        head.headers.first(name: "\(flowField)").flatMap { UInt64($0) }.flatMap { $0 < 1 << 53 ? $0 : nil }
    }

    static let tooFar = Problem.badRequest("hops", "a request is forwarded between nodes once at most")
}
