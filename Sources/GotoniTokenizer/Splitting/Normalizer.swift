internal import CPlatform
internal import CUTF8Proc
internal import GotoniCore

/// Unicode's normal forms, as Hugging Face's `tokenizers` 0.23 has them: by the tables of Unicode 10. A character that
/// came later stays as it is, and nothing is composed or reordered across it.
enum Normalizer {
    case nfc, nfd, nfkc, nfkd

    private var options: utf8proc_option_t {
        let (compose, decompose, compat) = (
            UTF8PROC_COMPOSE.rawValue, UTF8PROC_DECOMPOSE.rawValue, UTF8PROC_COMPAT.rawValue
        )
        let form =
            switch self {
            case .nfc: compose
            case .nfd: decompose
            case .nfkc: compose | compat
            case .nfkd: decompose | compat
            }
        return utf8proc_option_t(rawValue: UTF8PROC_STABLE.rawValue | form)
    }

    /// True: `text` is in this form, and quickly found to be so. Most texts are.
    func isSurelyDone(_ text: Bytes) -> Bool {
        guard let base = text.baseAddress else { return true }
        var index = 0
        while index < text.count {
            while index + 8 <= text.count,
                UnsafeRawPointer(base + index).loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0
            {
                index += 8
            }
            guard index < text.count else { break }
            let length = Self.length(text[index])
            if length > 1 {
                guard self == .nfc, Self.isStableInNFC(Self.scalar(text, index, length)) else { return false }
            }
            index += length
        }
        return true
    }

    /// Common scripts and symbols whose characters all have NFC_Quick_Check=Yes and combining class 0 (UAX #15, section 9):
    /// a text of only these is in NFC.
    private static func isStableInNFC(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0..<0x300, 0x388...0x482, 0x48A...0x52F, 0x5D0...0x5EA, 0x620...0x64A, 0x1E00...0x1EFF, 0x2002...0x20CF,
            0x2100...0x2125, 0x2190...0x2328, 0x232B...0x2ADB, 0x3001...0x3029, 0x3041...0x3096, 0x30A0...0x318E,
            0x3400...0x4DB5, 0x4E00...0x9FD5, 0xAC00...0xD7A3, 0xFF01...0xFF9D, 0x1F000...0x1FAFF:
            true
        default: false
        }
    }

    private static func length(_ lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4 }

    /// Appends `text` in this form.
    func normalize(_ text: Bytes, into out: inout List<UInt8>) throws(TokenizerError) {
        var start = 0
        var index = 0
        while index < text.count {
            let length = Self.length(text[index])
            if length > 1, Self.isLater(Self.scalar(text, index, length)) {
                try map(text.part(start..<index), into: &out)
                try out.append(text.part(index..<(index + length)))
                start = index + length
            }
            index += length
        }
        try map(text.part(start..<text.count), into: &out)
    }

    private static func scalar(_ text: Bytes, _ index: Int, _ length: Int) -> UInt32 {
        var value = UInt32(text[index]) & (0x7F >> UInt32(length))
        for offset in 1..<length { value = value << 6 | UInt32(text[index + offset] & 63) }
        return value
    }

    private func map(_ text: Bytes, into out: inout List<UInt8>) throws(TokenizerError) {
        guard text.count > 0 else { return }
        var result: UnsafeMutablePointer<UInt8>?
        let count = utf8proc_map(text.baseAddress, text.count, &result, options)
        defer { free(result) }
        guard count >= 0, let result else { throw count == UTF8PROC_ERROR_NOMEM ? .memory : .utf8 }
        try out.append(Bytes(start: result, count: count))
    }

    private static func isLater(_ scalar: UInt32) -> Bool {
        guard scalar >= 0x7FD else { return false }
        var (low, high) = (0, later.count)
        while low < high {
            let middle = (low + high) / 2
            if later[middle].1 < scalar { low = middle + 1 } else { high = middle }
        }
        return low < later.count && later[low].0 <= scalar
    }

    /// What decomposes, or is no starter, and came with Unicode 11 to 17 (DerivedAge.txt, UnicodeData.txt 17.0).
    private static let later: [(UInt32, UInt32)] = [
        (0x7FD, 0x7FD), (0x897, 0x89F), (0x8CA, 0x8D3), (0x9FE, 0x9FE), (0xC3C, 0xC3C), (0xEBA, 0xEBA),
        (0x1715, 0x1715), (0x1ABF, 0x1ADD), (0x1AE0, 0x1AEB), (0x1DFA, 0x1DFA), (0x32FF, 0x32FF), (0xA7F2, 0xA7F4),
        (0xA82C, 0xA82C), (0xAB69, 0xAB69), (0x10781, 0x10785), (0x10787, 0x107B0), (0x107B2, 0x107BA),
        (0x10D24, 0x10D27), (0x10D69, 0x10D6D), (0x10EAB, 0x10EAC), (0x10EFA, 0x10EFB), (0x10EFD, 0x10EFF),
        (0x10F46, 0x10F50), (0x10F82, 0x10F85), (0x11070, 0x11070), (0x1133B, 0x1133B), (0x113CE, 0x113D0),
        (0x1145E, 0x1145E), (0x11839, 0x1183A), (0x11938, 0x11938), (0x1193D, 0x1193E), (0x11943, 0x11943),
        (0x119E0, 0x119E0), (0x11D97, 0x11D97), (0x11F41, 0x11F42), (0x1612F, 0x1612F), (0x16FF0, 0x16FF1),
        (0x1E030, 0x1E06D), (0x1E08F, 0x1E08F), (0x1E130, 0x1E136), (0x1E2AE, 0x1E2AE), (0x1E2EC, 0x1E2EF),
        (0x1E4EC, 0x1E4EF), (0x1E5EE, 0x1E5EF), (0x1E6E3, 0x1E6E3), (0x1E6E6, 0x1E6E6), (0x1E6EE, 0x1E6EF),
        (0x1E6F5, 0x1E6F5), (0x1F16C, 0x1F16C), (0x1FBF0, 0x1FBF9),
    ]
}
