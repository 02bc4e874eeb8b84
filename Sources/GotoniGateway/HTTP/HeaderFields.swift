import Glibc

/// The lines of a head that ends with CRLF CRLF, without their line ends. An empty line before the last is given as
/// such, and a bare CR or NUL inside one stays there: `HeaderField` refuses both.
struct HeaderLines: IteratorProtocol {
    private let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func next() -> UnsafeRawBufferPointer? {
        guard let newline = bytes.firstIndex(of: UInt8(ascii: "\n"), from: at) else { return nil }
        let start = at
        at = newline + 1
        let end = newline > start && bytes[newline - 1] == UInt8(ascii: "\r") ? newline - 1 : newline
        if end == start, at == bytes.count { return nil }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }
}

/// A field line taken apart. RFC 9112, section 5: no space before the colon, no folding, no control characters.
struct HeaderField {
    let name: UnsafeRawBufferPointer
    let value: UnsafeRawBufferPointer

    init?(_ line: UnsafeRawBufferPointer) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":"), from: 0), colon > 0 else { return nil }
        for index in 0..<colon where line[index] <= 0x20 || line[index] >= 0x7F { return nil }
        guard !line.hasControlCharacter(from: colon) else { return nil }
        name = UnsafeRawBufferPointer(rebasing: line[..<colon])
        value = UnsafeRawBufferPointer(rebasing: line[(colon + 1)...]).trimmed
    }
}

/// The names in a Connection field, at most sixteen.
struct ConnectionOptions {
    private var names: [UnsafeRawBufferPointer] = []

    /// False: there are more.
    mutating func add(_ value: UnsafeRawBufferPointer) -> Bool {
        var start = 0
        while start <= value.count {
            let end = value[start...].firstIndex(of: UInt8(ascii: ",")) ?? value.count
            let name = UnsafeRawBufferPointer(rebasing: value[start..<end]).trimmed
            if name.count > 0 { names.append(name) }
            start = end + 1
        }
        return names.count <= 16
    }

    func contains(_ name: StaticString) -> Bool { names.contains { $0.equals(name) } }
    func contains(_ name: UnsafeRawBufferPointer) -> Bool { names.contains { $0.equals(ignoringCase: name) } }
}

extension String {
    /// Text in which `escape` and two hexadecimal digits stand for a byte; nil: they do not, or the bytes are no UTF-8.
    init?(unescaping text: some Sequence<UInt8>, _ escape: UInt8) {
        var bytes: [UInt8] = []
        var rest = Array(text)[...]
        while let byte = rest.popFirst() {
            guard byte == escape else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst()?.hexDigit, let low = rest.popFirst()?.hexDigit else { return nil }
            bytes.append(UInt8(high << 4 | low))
        }
        self.init(validating: bytes, as: UTF8.self)
    }
}

extension UInt8 {
    /// 0 to 15; nil: not a hexadecimal digit.
    var hexDigit: Int? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(self - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(self - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(self - UInt8(ascii: "A")) + 10
        default: nil
        }
    }
}

extension UnsafeRawBufferPointer {
    func firstIndex(of byte: UInt8, from start: Int) -> Int? {
        guard start < count, let base = baseAddress,
            let found = memchr(base + start, Int32(byte), count - start)
        else { return nil }
        return UnsafeRawPointer(found) - base
    }

    /// Other than a tab.
    func hasControlCharacter(from start: Int) -> Bool {
        for index in start..<count where self[index] < 0x20 && self[index] != 0x09 || self[index] == 0x7F {
            return true
        }
        return false
    }

    var trimmed: UnsafeRawBufferPointer {
        var (start, end) = (0, count)
        while start < end, self[start] == 0x20 || self[start] == 0x09 { start += 1 }
        while end > start, self[end - 1] == 0x20 || self[end - 1] == 0x09 { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: self[start..<end])
    }

    /// `lowercase` must be lower case letters, digits and hyphens.
    func equals(_ lowercase: StaticString) -> Bool {
        count == lowercase.utf8CodeUnitCount && hasPrefix(lowercase)
    }

    func hasPrefix(_ lowercase: StaticString) -> Bool {
        guard count >= lowercase.utf8CodeUnitCount else { return false }
        for index in 0..<lowercase.utf8CodeUnitCount
        where Self.lower(self[index]) != Self.lower(lowercase.utf8Start[index]) { return false }
        return true
    }

    func equals(ignoringCase other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count where Self.lower(self[index]) != Self.lower(other[index]) { return false }
        return true
    }

    /// Digits only, at most fifteen.
    var number: Int? {
        guard (1...15).contains(count) else { return nil }
        var value = 0
        for byte in self {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return value
    }

    private static func lower(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }

    /// Fields that speak about one connection and not about the message. RFC 9110, section 7.6.1.
    var isHopByHop: Bool {
        switch count {
        case 2: equals("te")
        case 7: equals("upgrade")
        case 10: equals("connection") || equals("keep-alive")
        case 16: equals("proxy-connection")
        case 17: equals("transfer-encoding")
        case 18: equals("proxy-authenticate")
        case 19: equals("proxy-authorization")
        default: false
        }
    }
}
