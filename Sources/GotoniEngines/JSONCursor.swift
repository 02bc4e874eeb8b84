/// Walks through JSON that may end anywhere: enough to read small objects of numbers.
struct JSONCursor {
    private let text: UnsafeBufferPointer<UInt8>
    private var position: Int

    init(_ text: UnsafeBufferPointer<UInt8>, at position: Int) {
        self.text = text
        self.position = position
    }

    private var next: UInt8? { position < text.count ? text[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || (0x09...0x0D).contains(byte) { position += 1 }
    }

    /// Whether `character` comes next, behind any white space; then it is passed.
    mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// The fields of the object that comes next. `field` may read the value; what it leaves is skipped. False: there is
    /// no object, or it has no end here.
    mutating func readObject(_ field: (FieldName, inout JSONCursor) -> Void) -> Bool {
        guard take("{") else { return false }
        if take("}") { return true }
        repeat {
            guard let name = readName(), take(":") else { return false }
            skipSpace()
            let start = position
            field(name, &self)
            position = start
            guard skipValue() else { return false }
        } while take(",")
        return take("}")
    }

    /// The number that comes next, if it is a whole one of at most 15 digits.
    mutating func readCount() -> Int? {
        skipSpace()
        var (value, digits) = (0, 0)
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte), digits < 16 {
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
            digits += 1
            position += 1
        }
        let goesOn = next == UInt8(ascii: ".") || next == UInt8(ascii: "e") || next == UInt8(ascii: "E")
        return (1...15).contains(digits) && !goesOn ? value : nil
    }

    private mutating func readName() -> FieldName? {
        skipSpace()
        let start = position + 1
        guard skipString() else { return nil }
        return FieldName(bytes: UnsafeBufferPointer(rebasing: text[start..<(position - 1)]))
    }

    private mutating func skipString() -> Bool {
        guard take("\"") else { return false }
        while let byte = next {
            position += byte == UInt8(ascii: "\\") ? 2 : 1
            if byte == UInt8(ascii: "\"") { return true }
        }
        return false
    }

    /// Passes any value, without recursion. False: it has no end here.
    private mutating func skipValue() -> Bool {
        var depth = 0
        repeat {
            skipSpace()
            guard let byte = next else { return false }
            switch byte {
            case UInt8(ascii: "\""): guard skipString() else { return false }
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                position += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                position += 1
            case UInt8(ascii: ","), UInt8(ascii: ":"):
                guard depth > 0 else { return false }
                position += 1
            default:
                while let byte = next, !isEndOfWord(byte) { position += 1 }
            }
            guard depth >= 0 else { return false }
        } while depth > 0
        return true
    }

    private func isEndOfWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ","), UInt8(ascii: ":"), UInt8(ascii: "}"), UInt8(ascii: "]"), UInt8(ascii: "{"),
            UInt8(ascii: "["), UInt8(ascii: "\""), 0x20, 0x09...0x0D:
            true
        default: false
        }
    }
}

/// A key as it stands in the text, compared without making a string of it.
struct FieldName {
    let bytes: UnsafeBufferPointer<UInt8>

    static func ~= (name: StaticString, field: FieldName) -> Bool { field == name }
    static func == (field: FieldName, name: StaticString) -> Bool {
        name.withUTF8Buffer { $0.elementsEqual(field.bytes) }
    }
}
