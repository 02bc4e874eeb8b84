internal import CPlatform
internal import CUTF8Proc
internal import GotoniCore

/// Unicode's normal forms, as Hugging Face's `tokenizers` 0.23 has them: by the tables of Unicode 9. A character that
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

    /// What a character is to this form.
    private enum Place {
        /// It stays as it is and has nothing to do with what comes before it.
        case starter
        /// Neither with what comes behind it.
        case alone
        /// It stays as it is where it stands, if no mark of a higher class comes before it.
        case mark(UInt16)
        /// It must be looked at together with its neighbours.
        case other
    }

    private func place(_ scalar: UInt32) -> Place {
        if scalar < 0x80 || isKnownStarter(scalar) { return .starter }
        if Self.isLater(scalar) { return .alone }
        // What is composed by rule is in no table.
        if (0x1100...0x11FF).contains(scalar) || (0xA960...0xA97C).contains(scalar)
            || (0xD7B0...0xD7FB).contains(scalar)
        {
            return .other
        }
        if (0xAC00...0xD7A3).contains(scalar) { return self == .nfc || self == .nfkc ? .starter : .other }
        guard let properties = utf8proc_get_property(utf8proc_int32_t(scalar)) else { return .other }
        let none = UInt16.max
        guard properties.pointee.decomp_seqindex == none, properties.pointee.comb_index == none else { return .other }
        let combining = UInt16(properties.pointee.combining_class)
        return combining == 0 ? .starter : .mark(combining)
    }

    /// Common characters that have NFC_Quick_Check=Yes (or NFKC's) and combining class 0 (UAX #15, section 9), although a
    /// mark behind them may be composed with them.
    private func isKnownStarter(_ scalar: UInt32) -> Bool {
        switch self {
        case .nfc:
            switch scalar {
            case 0..<0x300, 0x388...0x482, 0x48A...0x52F, 0x5D0...0x5EA, 0x620...0x64A, 0x904...0x939, 0x1E00...0x1EFF,
                0x2002...0x20CF, 0x2100...0x2125, 0x2190...0x2328, 0x232B...0x2ADB, 0x3001...0x3029, 0x3041...0x3096,
                0x30A0...0x318E, 0x3400...0x4DB5, 0x4E00...0x9FD5, 0xFF01...0xFF9D, 0x1F000...0x1FAFF:
                true
            default: false
            }
        case .nfkc:
            switch scalar {
            case 0xC0...0xFF, 0x391...0x3CE, 0x400...0x482, 0x3041...0x3096, 0x30A1...0x30FA, 0x4E00...0x9FD5: true
            default: false
            }
        case .nfd, .nfkd: false
        }
    }

    /// True: `text` is in this form, as most texts are.
    func isDone(_ text: Bytes) -> Bool { firstChange(text, from: 0) == nil }

    /// The next part that may not be in this form: from a starter on, up to the next one. Nil: there is none.
    private func firstChange(_ text: Bytes, from position: Int) -> Range<Int>? {
        guard let base = text.baseAddress else { return nil }
        var (index, starter, combining) = (position, position, UInt16(0))
        while index < text.count {
            if text[index] < 0x80 {
                while index + 8 <= text.count,
                    UnsafeRawPointer(base + index).loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0
                {
                    index += 8
                }
                while index < text.count, text[index] < 0x80 { index += 1 }
                (starter, combining) = (index - 1, 0)
                continue
            }
            let length = Self.length(text[index])
            switch place(Self.scalar(text, index, length)) {
            case .starter: (starter, combining) = (index, 0)
            case .alone: (starter, combining) = (index + length, 0)
            case .mark(let own) where own >= combining: combining = own
            case .mark, .other:
                var end = index + length
                while end < text.count {
                    let length = Self.length(text[end])
                    switch length == 1 ? .starter : place(Self.scalar(text, end, length)) {
                    case .starter, .alone: return starter..<end
                    case .mark, .other: end += length
                    }
                }
                return starter..<end
            }
            index += length
        }
        return nil
    }

    private static func length(_ lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4 }

    /// Appends `text` in this form.
    func normalize(_ text: Bytes, into out: inout List<UInt8>) throws(TokenizerError) {
        var start = 0
        while let part = firstChange(text, from: start) {
            try out.append(text.part(start..<part.lowerBound))
            try map(text.part(part), into: &out)
            start = part.upperBound
        }
        try out.append(text.part(start..<text.count))
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

    /// What decomposes, or is no starter, and came with Unicode 10 to 17 (DerivedAge.txt, UnicodeData.txt 17.0).
    private static let later: [(UInt32, UInt32)] = [
        (0x7FD, 0x7FD), (0x897, 0x89F), (0x8CA, 0x8D3), (0x9FE, 0x9FE), (0xC3C, 0xC3C), (0xD3B, 0xD3C),
        (0xEBA, 0xEBA), (0x1715, 0x1715), (0x1ABF, 0x1ADD), (0x1AE0, 0x1AEB), (0x1DF6, 0x1DF9), (0x1DFA, 0x1DFA),
        (0x32FF, 0x32FF), (0xA7F2, 0xA7F4), (0xA82C, 0xA82C), (0xAB69, 0xAB69), (0x10781, 0x10785),
        (0x10787, 0x107B0), (0x107B2, 0x107BA), (0x10D24, 0x10D27), (0x10D69, 0x10D6D), (0x10EAB, 0x10EAC),
        (0x10EFA, 0x10EFB), (0x10EFD, 0x10EFF), (0x10F46, 0x10F50), (0x10F82, 0x10F85), (0x11070, 0x11070),
        (0x1133B, 0x1133B), (0x113CE, 0x113D0), (0x1145E, 0x1145E), (0x11839, 0x1183A), (0x11938, 0x11938),
        (0x1193D, 0x1193E), (0x11943, 0x11943), (0x119E0, 0x119E0), (0x11A34, 0x11A34), (0x11A47, 0x11A47),
        (0x11A99, 0x11A99), (0x11D42, 0x11D42), (0x11D44, 0x11D45), (0x11D97, 0x11D97), (0x11F41, 0x11F42),
        (0x1612F, 0x1612F), (0x16FF0, 0x16FF1), (0x1E030, 0x1E06D), (0x1E08F, 0x1E08F), (0x1E130, 0x1E136),
        (0x1E2AE, 0x1E2AE), (0x1E2EC, 0x1E2EF), (0x1E4EC, 0x1E4EF), (0x1E5EE, 0x1E5EF), (0x1E6E3, 0x1E6E3),
        (0x1E6E6, 0x1E6E6), (0x1E6EE, 0x1E6EF), (0x1E6F5, 0x1E6F5), (0x1F16C, 0x1F16C), (0x1FBF0, 0x1FBF9),
    ]
}
