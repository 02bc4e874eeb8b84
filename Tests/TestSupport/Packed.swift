/// A value in MessagePack, as engines write their KV events.
public enum Packed {
    case null, int(Int64), number(UInt64), float(Double), text(String), bytes([UInt8]), array([Packed])
    case map([(String, Packed)])

    public var bytes: [UInt8] {
        func big<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
            withUnsafeBytes(of: value.bigEndian) { Array($0) }
        }
        func head(_ small: UInt8, _ most: Int, _ wide: UInt8, _ count: Int) -> [UInt8] {
            count <= most
                ? [small | UInt8(count)]
                : count < 65_536 ? [wide] + big(UInt16(count)) : [wide + 1] + big(UInt32(count))
        }
        switch self {
        case .null: return [0xC0]
        case .int(let value):
            if (-32...127).contains(value) { return [UInt8(truncatingIfNeeded: value)] }
            return [0xD3] + big(value)
        case .number(let value):
            if value < 128 { return [UInt8(value)] }
            if value < 256 { return [0xCC, UInt8(value)] }
            if value < 65_536 { return [0xCD] + big(UInt16(value)) }
            return value < 1 << 32 ? [0xCE] + big(UInt32(value)) : [0xCF] + big(value)
        case .float(let value): return [0xCB] + big(value.bitPattern)
        case .text(let text): return head(0xA0, 31, 0xDA, text.utf8.count) + Array(text.utf8)
        case .bytes(let bytes): return [0xC4, UInt8(bytes.count)] + bytes
        case .array(let items): return head(0x90, 15, 0xDC, items.count) + items.flatMap(\.bytes)
        case .map(let pairs):
            return head(0x80, 15, 0xDE, pairs.count) + pairs.flatMap { Packed.text($0.0).bytes + $0.1.bytes }
        }
    }
}
