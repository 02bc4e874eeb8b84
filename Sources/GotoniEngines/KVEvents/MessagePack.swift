/// Reads MessagePack (msgpack.org, specification of 2013), one value after the other, as the caller asks for them.
///
/// Borrows the bytes and allocates nothing: an engine's events are mostly token ids, thousands a message. What is not of
/// the kind that is asked for, or ends early, is an error; what nobody wants is skipped without recursion.
struct MessagePack {
    private let bytes: UnsafeRawBufferPointer
    private(set) var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    /// What the next value is; nothing is consumed. Errors: the end.
    func peek() throws(KVEventError) -> Kind {
        guard position < bytes.count else { throw .malformed }
        switch bytes[position] {
        case 0x00...0x7F, 0xCC...0xD3, 0xE0...0xFF: return .integer
        case 0x80...0x8F, 0xDE, 0xDF: return .map
        case 0x90...0x9F, 0xDC, 0xDD: return .array
        case 0xA0...0xBF, 0xD9...0xDB: return .text
        case 0xC4...0xC6: return .binary
        case 0xC0: return .null
        case 0xCA, 0xCB: return .float
        default: return .other
        }
    }

    enum Kind { case integer, float, text, binary, array, map, null, other }

    /// True if the next value was nil; then it is consumed.
    mutating func takeNull() throws(KVEventError) -> Bool {
        guard try peek() == .null else { return false }
        position += 1
        return true
    }

    /// Any integer as its 64 bits: negative ones in two's complement.
    @inline(__always) mutating func integer() throws(KVEventError) -> UInt64 {
        let first = try byte()
        switch first {
        case 0x00...0x7F: return UInt64(first)
        case 0xCC: return UInt64(try byte())
        case 0xCD: return UInt64(try big(UInt16.self))
        case 0xCE: return UInt64(try big(UInt32.self))
        case 0xCF, 0xD3: return try big(UInt64.self)
        case 0xE0...0xFF: return UInt64(bitPattern: Int64(Int8(bitPattern: first)))
        case 0xD0: return UInt64(bitPattern: Int64(Int8(bitPattern: try byte())))
        case 0xD1: return UInt64(bitPattern: Int64(Int16(bitPattern: try big(UInt16.self))))
        case 0xD2: return UInt64(bitPattern: Int64(Int32(bitPattern: try big(UInt32.self))))
        default: throw .malformed
        }
    }

    /// A floating-point number, or an integer as one.
    mutating func number() throws(KVEventError) -> Double {
        guard try peek() == .float else { return Double(Int64(bitPattern: try integer())) }
        if try byte() == 0xCA { return Double(Float(bitPattern: try big(UInt32.self))) }
        return Double(bitPattern: try big(UInt64.self))
    }

    /// The bytes of a text or of a binary value.
    mutating func bytesOrText() throws(KVEventError) -> UnsafeRawBufferPointer {
        let first = try byte()
        switch first {
        case 0xA0...0xBF: return try take(Int(first & 0x1F))
        case 0xC4, 0xD9: return try take(Int(try byte()))
        case 0xC5, 0xDA: return try take(Int(try big(UInt16.self)))
        case 0xC6, 0xDB: return try take(Int(try big(UInt32.self)))
        default: throw .malformed
        }
    }

    /// The number of elements that follow.
    mutating func array() throws(KVEventError) -> Int {
        let first = try byte()
        switch first {
        case 0x90...0x9F: return Int(first & 0x0F)
        case 0xDC: return try count(Int(try big(UInt16.self)))
        case 0xDD: return try count(Int(try big(UInt32.self)))
        default: throw .malformed
        }
    }

    /// The number of pairs that follow.
    mutating func map() throws(KVEventError) -> Int {
        let first = try byte()
        switch first {
        case 0x80...0x8F: return Int(first & 0x0F)
        case 0xDE: return try count(Int(try big(UInt16.self)))
        case 0xDF: return try count(Int(try big(UInt32.self)))
        default: throw .malformed
        }
    }

    /// Passes over one value, whatever it holds.
    mutating func skip() throws(KVEventError) {
        var left = 1
        while left > 0 {
            left -= 1
            switch try peek() {
            case .integer: _ = try integer()
            case .float: _ = try number()
            case .text, .binary: _ = try bytesOrText()
            case .null: position += 1
            case .array: left += try array()
            case .map: left += 2 * (try map())
            case .other: try skipOther()
            }
        }
    }

    /// Booleans and extensions.
    private mutating func skipOther() throws(KVEventError) {
        let first = try byte()
        switch first {
        case 0xC2, 0xC3: return
        case 0xD4...0xD8: _ = try take(1 + 1 << Int(first - 0xD4))
        case 0xC7: _ = try take(1 + Int(try byte()))
        case 0xC8: _ = try take(1 + Int(try big(UInt16.self)))
        case 0xC9: _ = try take(1 + Int(try big(UInt32.self)))
        default: throw .malformed
        }
    }

    // MARK: Bytes

    /// No more elements than bytes are left: a hostile count allocates nothing.
    private func count(_ claimed: Int) throws(KVEventError) -> Int {
        guard claimed <= bytes.count - position else { throw .malformed }
        return claimed
    }

    @inline(__always) private mutating func byte() throws(KVEventError) -> UInt8 {
        guard position < bytes.count else { throw .malformed }
        defer { position += 1 }
        return bytes[position]
    }

    @inline(__always) private mutating func big<Value: FixedWidthInteger & BitwiseCopyable>(
        _: Value.Type
    ) throws(KVEventError) -> Value {
        guard bytes.count - position >= MemoryLayout<Value>.size else { throw .malformed }
        defer { position += MemoryLayout<Value>.size }
        return Value(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
    }

    private mutating func take(_ count: Int) throws(KVEventError) -> UnsafeRawBufferPointer {
        guard count <= bytes.count - position else { throw .malformed }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + count)])
    }
}
