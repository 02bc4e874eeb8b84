/// The addresses that begin alike, such as 10.0.0.0/8.
struct IPv4Network: Sendable, CustomStringConvertible {
    private let address: UInt32
    /// Of so many bits, from 0 to 32.
    let length: Int
    /// Whether there was nothing behind the length.
    let isExact: Bool

    /// ADDRESS or ADDRESS/LENGTH; without a length it is that address alone. Nil: it is neither. Bits behind the length
    /// are cut off; `isExact` is false then.
    init?(_ text: String) {
        let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let bytes = halves[0].split(separator: ".", omittingEmptySubsequences: false).map(Self.number)
        guard bytes.count == 4, let length = halves.count == 2 ? Self.number(halves[1]) : 32, length <= 32 else {
            return nil
        }
        var found: UInt32 = 0
        for byte in bytes {
            guard let byte, byte <= 255 else { return nil }
            found = found << 8 | UInt32(byte)
        }
        self.length = length
        address = found & Self.mask(length)
        isExact = address == found
    }

    func contains(_ other: IPv4Network) -> Bool {
        length <= other.length && other.address & Self.mask(length) == address
    }

    var description: String {
        let bytes = [24, 16, 8, 0].map { "\(address >> UInt32($0) & 255)" }
        return bytes.joined(separator: ".") + "/\(length)"
    }

    private static func mask(_ length: Int) -> UInt32 { length == 0 ? 0 : UInt32.max << UInt32(32 - length) }

    /// Of up to three digits; what begins with 0 is octal for some, so it is none.
    private static func number(_ text: Substring) -> Int? {
        guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            text == "0" || !text.hasPrefix("0")
        else { return nil }
        return Int(text)
    }
}
