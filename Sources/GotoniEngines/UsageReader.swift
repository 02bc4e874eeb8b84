/// What an answer says about its own size; nil is unknown.
public struct Usage: Equatable, Sendable {
    /// Of the whole prompt, cached or not.
    public var promptTokens: Int?
    /// Of these, found in the engine's cache.
    public var cachedTokens: Int?
    public var outputTokens: Int?

    public init(promptTokens: Int? = nil, cachedTokens: Int? = nil, outputTokens: Int? = nil) {
        self.promptTokens = promptTokens
        self.cachedTokens = cachedTokens
        self.outputTokens = outputTokens
    }

    /// Nothing is known, and everything.
    var isEmpty: Bool { self == Usage() }
    var isComplete: Bool { promptTokens != nil && cachedTokens != nil && outputTokens != nil }

    /// What `self` does not say is taken from `other`.
    mutating func fill(from other: Usage) {
        promptTokens = promptTokens ?? other.promptTokens
        cachedTokens = cachedTokens ?? other.cachedTokens
        outputTokens = outputTokens ?? other.outputTokens
    }
}

/// Finds the usage in the bytes of an answer as they pass: JSON or server-sent events, cut anywhere.
///
/// Feeding copies; nothing is looked for before `usage()`. Only the first KiB and the last 8 KiB of an answer are kept,
/// in 17 KiB that are allocated once: engines write the usage last, but llama.cpp writes that of embeddings first.
///
/// Known are `usage` of OpenAI's APIs, `meta_info` of SGLang's own and `timings` of llama.cpp's. Of each the last
/// complete one counts; what `usage` leaves out is taken from the others. A model that writes such words into its text
/// changes nothing: inside a JSON string their second quote has a backslash before it. Of a batch sent to SGLang's
/// `/generate` the last prompt alone is seen. One reader serves one answer at a time.
public struct UsageReader: Sendable {
    /// What is kept of an answer's beginning, and at least of its end.
    static let headBytes = 1 << 10
    static let tailBytes = 8 << 10

    /// The head, then two times the tail: when that is full, its second half moves to the front.
    private var storage: [UInt8]
    private var headCount = 0
    private var tailCount = 0

    public init() { storage = [UInt8](repeating: 0, count: Self.headBytes + 2 * Self.tailBytes) }

    /// Forgets the answer, to read the next one without allocating.
    public mutating func reset() {
        headCount = 0
        tailCount = 0
    }

    /// The next bytes of the answer's body, without chunk framing.
    public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        let (headCount, tailCount) = (headCount, tailCount)
        let newHead = min(Self.headBytes - headCount, bytes.count)
        let newTail = storage.withUnsafeMutableBytes { storage in
            let head = UnsafeMutableRawBufferPointer(rebasing: storage[headCount..<Self.headBytes])
            head.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes.prefix(newHead)))
            let tail = UnsafeMutableRawBufferPointer(rebasing: storage[Self.headBytes...])
            return Self.append(bytes, to: tail, count: tailCount)
        }
        self.headCount = headCount + newHead
        self.tailCount = newTail
    }

    /// Returns how many bytes `tail` holds afterwards: the last that came, at least `tailBytes` of them.
    private static func append(
        _ bytes: UnsafeRawBufferPointer, to tail: UnsafeMutableRawBufferPointer, count: Int
    ) -> Int {
        var count = count
        let bytes = UnsafeRawBufferPointer(rebasing: bytes.suffix(tail.count))
        if count + bytes.count > tail.count {
            let kept = min(count, max(0, tailBytes - bytes.count))
            tail.copyMemory(from: UnsafeRawBufferPointer(rebasing: tail[(count - kept)..<count]))
            count = kept
        }
        UnsafeMutableRawBufferPointer(rebasing: tail[count...]).copyMemory(from: bytes)
        return count + bytes.count
    }

    /// What was found so far; nil: nothing.
    public func usage() -> Usage? {
        storage.withUnsafeBufferPointer { storage in
            let tail = UnsafeBufferPointer(
                rebasing: storage[Self.headBytes...].prefix(tailCount).suffix(Self.tailBytes))
            let head = UnsafeBufferPointer(rebasing: storage.prefix(headCount))
            var search = UsageSearch()
            search.look(in: tail)
            // A shorter answer is in the tail as a whole.
            if tailCount >= Self.tailBytes { search.look(in: head) }
            return search.result
        }
    }
}

/// The last object of each form.
struct UsageSearch {
    /// So many candidates, each read to its end, are no answer of an engine.
    private static let mostCandidates = 200

    private var found: [Usage?] = UsageForm.allCases.map { _ in nil }
    private var candidates = 0

    var result: Usage? {
        var usage = Usage()
        for case let other? in found { usage.fill(from: other) }
        return usage.isEmpty ? nil : usage
    }

    /// Looks from the end to the beginning of `text`, which may begin and end anywhere in an answer.
    mutating func look(in text: UnsafeBufferPointer<UInt8>) {
        var start = text.count
        while candidates < Self.mostCandidates, found[0]?.isComplete != true {
            // Most bytes are no quotes: a loop of its own for them.
            repeat { start -= 1 } while start >= 0 && text[start] != UInt8(ascii: "\"")
            guard start >= 0 else { return }
            guard let form = UsageForm(at: start, in: text), found[form.rawValue] == nil else { continue }
            var cursor = JSONCursor(text, at: start + form.key.utf8CodeUnitCount)
            guard cursor.take(":") else { continue }
            candidates += 1
            if let usage = form.read(&cursor), !usage.isEmpty { found[form.rawValue] = usage }
        }
    }
}

/// The objects that say it, most trusted first.
enum UsageForm: Int, CaseIterable {
    case usage, metaInfo, timings

    /// The form whose key is at `start`, a quote.
    init?(at start: Int, in text: UnsafeBufferPointer<UInt8>) {
        guard start + 1 < text.count else { return nil }
        switch text[start + 1] {
        case UInt8(ascii: "u"): self = .usage
        case UInt8(ascii: "m"): self = .metaInfo
        case UInt8(ascii: "t"): self = .timings
        default: return nil
        }
        let rest = UnsafeBufferPointer(rebasing: text[start...])
        guard key.withUTF8Buffer({ rest.starts(with: $0) }) else { return nil }
    }

    var key: StaticString {
        switch self {
        case .usage: "\"usage\""
        case .metaInfo: "\"meta_info\""
        case .timings: "\"timings\""
        }
    }

    /// The object at the cursor; nil if it is none, or goes on behind the text.
    func read(_ cursor: inout JSONCursor) -> Usage? {
        var usage = Usage()
        var computed: Int?
        let complete = cursor.readObject { name, cursor in
            switch (self, name) {
            case (.usage, "prompt_tokens"), (.usage, "input_tokens"), (.metaInfo, "prompt_tokens"):
                usage.promptTokens = cursor.readCount()
            case (.usage, "completion_tokens"), (.usage, "output_tokens"), (.metaInfo, "completion_tokens"),
                (.timings, "predicted_n"):
                usage.outputTokens = cursor.readCount()
            case (.metaInfo, "cached_tokens"), (.timings, "cache_n"): usage.cachedTokens = cursor.readCount()
            case (.timings, "prompt_n"): computed = cursor.readCount()
            case (.usage, "prompt_tokens_details"), (.usage, "input_tokens_details"):
                _ = cursor.readObject { name, cursor in
                    if name == "cached_tokens" { usage.cachedTokens = cursor.readCount() }
                }
            default: break
            }
        }
        // llama.cpp counts what it computed, and says apart what it found.
        if let computed, let cached = usage.cachedTokens { usage.promptTokens = computed + cached }
        return complete ? usage : nil
    }
}
