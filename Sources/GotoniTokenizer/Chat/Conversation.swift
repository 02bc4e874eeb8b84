internal import CPlatform

/// A conversation as `BodyReader` writes it (`CSimdjson/writer.hpp`): parts behind a byte that UTF-8 never has, each with
/// a letter for what it is.
struct Conversation {
    struct Message {
        var role: Range<Int>
        var content: Range<Int>?
        var hasReasoning = false
        /// Calls of tools, outputs, images: nothing that a role and a text could say.
        var hasMore = false
    }

    let text: Bytes
    private(set) var messages: [Message] = []
    /// Tools, or something else that belongs to no message.
    private(set) var hasMore = false
    private(set) var hasMedia = false

    static let mark: UInt8 = 0xFF

    init(_ text: Bytes) {
        self.text = text
        var position = 0
        while position + 1 < text.count {
            let kind = text[position + 1]
            let start = position + 2
            // An image's digest may have any byte; it has a fixed length of its own and is not looked into.
            let end = kind == UInt8(ascii: "X") ? text.count : next(from: start)
            add(kind, start..<end)
            position = end
        }
    }

    private func next(from start: Int) -> Int {
        guard let base = text.baseAddress, start < text.count,
            let found = memchr(base + start, Int32(Self.mark), text.count - start)
        else { return text.count }
        return UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }

    private mutating func add(_ kind: UInt8, _ range: Range<Int>) {
        switch kind {
        case UInt8(ascii: "M"): messages.append(Message(role: range))
        case UInt8(ascii: "X"):
            hasMedia = true
            hasMore = true
        default:
            guard let last = messages.indices.last else {
                hasMore = true
                return
            }
            switch kind {
            case UInt8(ascii: "C"): messages[last].content = range
            case UInt8(ascii: "R"): messages[last].hasReasoning = true
            // No template says a user's name.
            case UInt8(ascii: "N"): return
            default: messages[last].hasMore = true
            }
        }
    }

    /// Who speaks; engines take a developer for the system.
    func role(_ message: Message) -> Bytes {
        let (role, system): (Bytes, StaticString) = (text.part(message.role), "system")
        return role == "developer" ? system.bytes : role
    }
}

extension UnsafeBufferPointer where Element == UInt8 {
    /// Where `other` begins for the last time; nil: nowhere.
    func last(of other: StaticString) -> Int? {
        let other = other.bytes
        guard count >= other.count, other.count > 0 else { return nil }
        var start = count - other.count
        while start >= 0 {
            if equal(part(start..<(start + other.count)), other) { return start }
            start -= 1
        }
        return nil
    }

    func contains(_ other: StaticString) -> Bool {
        let other = other.bytes
        guard let first = other.first else { return true }
        var start = 0
        while start + other.count <= count, let base = baseAddress,
            let found = memchr(base + start, Int32(first), count - start - other.count + 1)
        {
            start = UnsafeRawPointer(found) - UnsafeRawPointer(base)
            if equal(part(start..<(start + other.count)), other) { return true }
            start += 1
        }
        return false
    }

    func begins(with other: StaticString) -> Bool {
        count >= other.utf8CodeUnitCount && equal(part(0..<other.utf8CodeUnitCount), other.bytes)
    }

    func ends(with other: StaticString) -> Bool {
        count >= other.utf8CodeUnitCount && equal(part((count - other.utf8CodeUnitCount)..<count), other.bytes)
    }

    /// Without the line feeds before it.
    var withoutLineFeedsBefore: Self {
        var start = 0
        while start < count, self[start] == UInt8(ascii: "\n") { start += 1 }
        return part(start..<count)
    }

    /// Without white space around it, as Python's `strip` has it.
    var stripped: Self {
        var (start, end) = (0, count)
        while start < end, let length = spaceLength(at: start), start + length <= end { start += length }
        while end > start {
            var last = end - 1
            while last > start, self[last] & 0xC0 == 0x80 { last -= 1 }
            guard let length = spaceLength(at: last), last + length == end else { break }
            end = last
        }
        return part(start..<end)
    }

    /// Bytes of the white space at `index` (Python's `str.isspace`); nil: there is none.
    private func spaceLength(at index: Int) -> Int? {
        switch self[index] {
        case 9...13, 28...32: return 1
        case 0xC2 where index + 1 < count: return self[index + 1] == 0x85 || self[index + 1] == 0xA0 ? 2 : nil
        case 0xE1, 0xE2, 0xE3:
            guard index + 2 < count else { return nil }
            switch UInt32(self[index] & 15) << 12 | UInt32(self[index + 1] & 63) << 6 | UInt32(self[index + 2] & 63) {
            case 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: return 3
            default: return nil
            }
        default: return nil
        }
    }
}
