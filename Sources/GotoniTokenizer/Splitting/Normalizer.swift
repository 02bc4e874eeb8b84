internal import CPlatform
internal import CUTF8Proc
internal import GotoniCore

/// Unicode's normal forms, as Hugging Face's `tokenizers` 0.23 has them: by the tables of Unicode 9. A character that
/// came later stays as it is, and nothing is composed or reordered across it.
final class Normalizer {
    enum Form: CaseIterable {
        case nfc, nfd, nfkc, nfkd

        var composes: Bool { self == .nfc || self == .nfkc }

        fileprivate var options: utf8proc_option_t {
            var flags = UTF8PROC_STABLE.rawValue | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE).rawValue
            if self == .nfkc || self == .nfkd { flags |= UTF8PROC_COMPAT.rawValue }
            return utf8proc_option_t(rawValue: flags)
        }
    }

    /// What a character is to this form. Another number: a mark's combining class. It stays as it is where it stands, if
    /// no mark of a higher class comes before it.
    private enum Place {
        /// It stays as it is and has nothing to do with what comes before it.
        static let starter: UInt8 = 0
        /// Neither with what comes behind it.
        static let alone: UInt8 = 254
        /// It must be looked at together with its neighbours.
        static let other: UInt8 = 255
    }

    private let form: Form
    /// Of every character of planes 0 and 1.
    private let places: Buffer<UInt8>

    /// Takes some milliseconds. Errors: memory.
    init(_ form: Form) throws(TokenizerError) {
        let places: Buffer<UInt8> = try makeBuffer(0x20000)
        for scalar in 0x80..<UInt32(places.count) { places[Int(scalar)] = try Self.place(of: scalar, form) }
        self.form = form
        self.places = places
    }

    private static func place(of scalar: UInt32, _ form: Form) throws(TokenizerError) -> UInt8 {
        if isLater(scalar) { return Place.alone }
        // What is composed by rule is in no table.
        switch scalar {
        case 0x1100...0x11FF, 0xA960...0xA97C, 0xD7B0...0xD7FB: return Place.other
        case 0xAC00...0xD7A3: return form.composes ? Place.starter : Place.other
        case 0xD800...0xDFFF: return Place.starter
        default: break
        }
        guard let properties = utf8proc_get_property(utf8proc_int32_t(scalar)) else { return Place.other }
        if form.composes, gotoni_utf8proc_ends_composition(properties) { return Place.other }
        let combining = UInt8(properties.pointee.combining_class)
        if properties.pointee.decomp_seqindex == UInt16.max { return combining }
        // What decomposes may be composed again (UAX #15, section 9).
        guard form.composes, combining == 0 else { return Place.other }
        var bytes: (UInt8, UInt8, UInt8, UInt8) = (0, 0, 0, 0)
        return try withUnsafeMutableBytes(of: &bytes) { (bytes) throws(TokenizerError) in
            let text = bytes.bindMemory(to: UInt8.self)
            let length = utf8proc_encode_char(utf8proc_int32_t(scalar), text.baseAddress)
            let character = Bytes(text).part(0..<length)
            return try map(character, form) { equal($0, character) } ? Place.starter : Place.other
        }
    }

    /// The next part that may not be in this form: from a starter on, up to the next one. Nil: there is none.
    private func firstChange(_ text: Bytes, from position: Int) throws(TokenizerError) -> Range<Int>? {
        guard let base = text.baseAddress else { return nil }
        var (index, starter, combining) = (position, position, Place.starter)
        while index < text.count {
            if base[index] < 0x80 {
                while index + 8 <= text.count,
                    UnsafeRawPointer(base + index).loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0
                {
                    index += 8
                }
                while index < text.count, base[index] < 0x80 { index += 1 }
                (starter, combining) = (index - 1, Place.starter)
                continue
            }
            let (place, length) = try place(at: base + index)
            switch place {
            case Place.starter: (starter, combining) = (index, place)
            case Place.alone: (starter, combining) = (index + length, Place.starter)
            case combining..<Place.alone: combining = place
            default:
                var end = index + length
                while end < text.count {
                    let (place, length) = try self.place(at: base + end)
                    if place == Place.starter || place == Place.alone { break }
                    end += length
                }
                return starter..<end
            }
            index += length
        }
        return nil
    }

    @inline(__always) private func place(
        at bytes: UnsafePointer<UInt8>
    ) throws(TokenizerError) -> (place: UInt8, length: Int) {
        let lead = bytes[0]
        guard lead >= 0x80 else { return (Place.starter, 1) }
        let length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        var scalar = UInt32(lead) & (0x7F >> UInt32(length))
        for offset in 1..<length { scalar = scalar << 6 | UInt32(bytes[offset] & 63) }
        return (scalar < places.count ? places[Int(scalar)] : try Self.place(of: scalar, form), length)
    }

    /// `text` in this form: itself, as most texts are, or what is written to `out`.
    func normalize(_ text: Bytes, into out: inout List<UInt8>) throws(TokenizerError) -> Bytes {
        guard var part = try firstChange(text, from: 0) else { return text }
        out.clear()
        var start = 0
        while true {
            try out.append(text.part(start..<part.lowerBound))
            try Self.map(text.part(part), form) { (part) throws(TokenizerError) in try out.append(part) }
            start = part.upperBound
            guard let next = try firstChange(text, from: start) else { break }
            part = next
        }
        try out.append(text.part(start..<text.count))
        return Bytes(out.elements)
    }

    /// Gives `text` in `form` to `use`.
    private static func map<Result>(
        _ text: Bytes, _ form: Form, _ use: (Bytes) throws(TokenizerError) -> Result
    ) throws(TokenizerError) -> Result {
        var result: UnsafeMutablePointer<UInt8>?
        let count = utf8proc_map(text.baseAddress, text.count, &result, form.options)
        defer { free(result) }
        guard count >= 0, let result else { throw count == UTF8PROC_ERROR_NOMEM ? .memory : .utf8 }
        return try use(Bytes(start: result, count: count))
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
