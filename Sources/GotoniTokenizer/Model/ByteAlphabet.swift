/// The characters that stand for bytes in a byte-level vocabulary (GPT-2's bytes_to_unicode): what can be printed stands
/// for itself, the others in their order for U+0100 and on.
struct ByteAlphabet {
    private let bytes: [Int16]

    init() {
        var bytes = [Int16](repeating: -1, count: 0x144)
        var next = 0x100
        for byte in 0..<256 {
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: bytes[byte] = Int16(byte)
            default:
                bytes[next] = Int16(byte)
                next += 1
            }
        }
        self.bytes = bytes
    }

    /// The bytes that `text` stands for, appended to `out`; false, and some of them, if it has another character.
    func decode(_ text: Bytes, into out: inout [UInt8]) -> Bool {
        var index = 0
        while index < text.count {
            var scalar = Int(text[index])
            if scalar >= 0x80 {
                guard scalar >= 0xC2, scalar < 0xE0, index + 1 < text.count else { return false }
                scalar = (scalar & 31) << 6 | Int(text[index + 1] & 63)
                index += 1
            }
            index += 1
            guard scalar < bytes.count, bytes[scalar] >= 0 else { return false }
            out.append(UInt8(bytes[scalar]))
        }
        return true
    }
}
