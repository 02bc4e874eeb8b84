/// Rewrites a pattern of `tokenizer.json` (Oniguruma's, Ruby's syntax) for libpcre2. What both read alike passes as it is;
/// what they read differently is rewritten, or refused.
///
/// `wide`: the form for texts with a character of `UnicodeGap`.
struct PatternDialect {
    private let pattern: Bytes
    private let wide: Bool
    private var position = 0
    private var out: [UInt8] = []

    /// Errors: unsupported.
    static func translate(_ pattern: Bytes, wide: Bool) throws(TokenizerError) -> [UInt8] {
        var dialect = PatternDialect(pattern: pattern, wide: wide)
        try dialect.translate()
        return dialect.out
    }

    /// A pattern that finds the characters on which the two differ.
    static func gap() -> [UInt8] {
        var dialect = PatternDialect(pattern: Bytes(start: nil, count: 0), wide: true)
        dialect.out.append(UInt8(ascii: "["))
        for range in UnicodeGap.ranges { dialect.write(range.first, range.last) }
        dialect.out.append(UInt8(ascii: "]"))
        return dialect.out
    }

    private init(pattern: Bytes, wide: Bool) {
        self.pattern = pattern
        self.wide = wide
    }

    private func peek(_ offset: Int = 0) -> UInt8 { position + offset < pattern.count ? pattern[position + offset] : 0 }

    private static let unsupported = TokenizerError.patternKind

    private mutating func translate() throws(TokenizerError) {
        while position < pattern.count {
            switch pattern[position] {
            case UInt8(ascii: "\\"): try escape(inClass: false)
            case UInt8(ascii: "["): try characterClass()
            case UInt8(ascii: "("): try group()
            case UInt8(ascii: "{"):
                // `{1,3}+` is possessive in libpcre2 and greedy in Oniguruma.
                copy(through: UInt8(ascii: "}"))
                guard peek() != UInt8(ascii: "+") else { throw Self.unsupported }
            // A pattern with spaces and comments would be another one.
            case UInt8(ascii: "#"), UInt8(ascii: "^"): throw Self.unsupported
            default: copy()
            }
        }
    }

    private mutating func copy() {
        out.append(pattern[position])
        position += 1
    }

    private mutating func copy(through end: UInt8) {
        while position < pattern.count {
            copy()
            if out.last == end { return }
        }
    }

    /// `(`, `(?:`, `(?i:`, `(?=`, `(?!`; the rest of it comes later.
    private mutating func group() throws(TokenizerError) {
        copy()
        guard peek() == UInt8(ascii: "?") else { return }
        copy()
        switch peek() {
        case UInt8(ascii: ":"), UInt8(ascii: "="), UInt8(ascii: "!"), UInt8(ascii: ">"): copy()
        case UInt8(ascii: "i"):
            guard peek(1) == UInt8(ascii: ":") else { throw Self.unsupported }
            copy()
            copy()
        default: throw Self.unsupported
        }
    }

    private mutating func characterClass() throws(TokenizerError) {
        copy()
        if peek() == UInt8(ascii: "^") { copy() }
        // A bracket that comes first is a character in one of the two only.
        guard peek() != UInt8(ascii: "]") else { throw Self.unsupported }
        while peek() != UInt8(ascii: "]") {
            guard position < pattern.count else { throw Self.unsupported }
            switch pattern[position] {
            case UInt8(ascii: "\\"): try escape(inClass: true)
            // Sets in sets and intersections.
            case UInt8(ascii: "["): throw Self.unsupported
            case UInt8(ascii: "&") where peek(1) == UInt8(ascii: "&"): throw Self.unsupported
            default: copy()
            }
        }
        copy()
    }

    /// At a backslash.
    private mutating func escape(inClass: Bool) throws(TokenizerError) {
        let letter = peek(1)
        switch letter {
        case UInt8(ascii: "p"), UInt8(ascii: "P"): try property(inClass)
        case UInt8(ascii: "s"), UInt8(ascii: "S"):
            position += 2
            try write(class: Self.spaces, isNegative: letter == UInt8(ascii: "S"), inClass)
        case UInt8(ascii: "d"), UInt8(ascii: "D"):
            position += 2
            try write(property: "Nd", isNegative: letter == UInt8(ascii: "D"), inClass)
        case UInt8(ascii: "r"), UInt8(ascii: "n"), UInt8(ascii: "t"), UInt8(ascii: "f"), UInt8(ascii: "v"):
            // \v is one character in one and several in the other.
            guard letter != UInt8(ascii: "v") else { throw Self.unsupported }
            copy()
            copy()
        case UInt8(ascii: "u"):
            position += 2
            for byte in "\\x{".utf8 { out.append(byte) }
            for _ in 0..<4 {
                guard Self.isHexadecimal(peek()) else { throw Self.unsupported }
                copy()
            }
            out.append(UInt8(ascii: "}"))
        case UInt8(ascii: "x") where peek(2) == UInt8(ascii: "{"): copy(through: UInt8(ascii: "}"))
        case let letter where letter < 0x80 && !Self.isAlphanumeric(letter) && letter > 0x20:
            copy()
            copy()
        default: throw Self.unsupported
        }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }
    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
    }

    /// `\p{L}`, `\p{Lu}`, `\pL`.
    private mutating func property(_ inClass: Bool) throws(TokenizerError) {
        var isNegative = peek(1) == UInt8(ascii: "P")
        position += 2
        var name: [UInt8] = []
        if peek() == UInt8(ascii: "{") {
            position += 1
            if peek() == UInt8(ascii: "^") {
                isNegative.toggle()
                position += 1
            }
            while position < pattern.count, peek() != UInt8(ascii: "}") {
                name.append(peek())
                position += 1
            }
            position += 1
        } else {
            name.append(peek())
            position += 1
        }
        let isCategory = name.withUnsafeBufferPointer { name in
            Self.categories.contains { (known: StaticString) in lowercase(name, is: known.bytes) }
        }
        guard isCategory else { throw Self.unsupported }
        try name.withUnsafeBufferPointer { (name) throws(TokenizerError) in
            try write(propertyNamed: name, isNegative: isNegative, inClass)
        }
    }

    private static let categories: [StaticString] = [
        "l", "lu", "ll", "lt", "lm", "lo", "m", "mn", "mc", "me", "n", "nd", "nl", "no", "p", "pc", "pd", "ps", "pe",
        "pi",
        "pf", "po", "s", "sm", "sc", "sk", "so",
    ]

    private func lowercase(_ name: Bytes, is other: Bytes) -> Bool {
        name.count == other.count && name.indices.allSatisfy { name[$0] | 0x20 == other[$0] }
    }

    private mutating func write(property: StaticString, isNegative: Bool, _ inClass: Bool) throws(TokenizerError) {
        try write(propertyNamed: property.bytes, isNegative: isNegative, inClass)
    }

    private mutating func write(propertyNamed name: Bytes, isNegative: Bool, _ inClass: Bool) throws(TokenizerError) {
        func item(_ dialect: inout PatternDialect) {
            if name.count == 1 { dialect.out.append(contentsOf: Self.ascii(name[0] | 0x20).bytes) }
            for byte in "\\p{".utf8 { dialect.out.append(byte) }
            dialect.out.append(contentsOf: name)
            dialect.out.append(UInt8(ascii: "}"))
            guard dialect.wide else { return }
            for range in UnicodeGap.ranges {
                let category = range.category.name.bytes
                let matches = category[0] == name[0] | 0x20 && (name.count == 1 || category[1] == name[1] | 0x20)
                if matches { dialect.write(range.first, range.last) }
            }
        }
        if inClass {
            // Nothing can be taken out of a class.
            if isNegative, wide { throw Self.unsupported }
            if isNegative {
                for byte in "\\P{".utf8 { out.append(byte) }
                out.append(contentsOf: name)
                out.append(UInt8(ascii: "}"))
            } else {
                item(&self)
            }
            return
        }
        out.append(UInt8(ascii: "["))
        if isNegative { out.append(UInt8(ascii: "^")) }
        item(&self)
        out.append(UInt8(ascii: "]"))
    }

    /// The ASCII characters of a category. Libpcre2 finds them in a bitmap, others in Unicode's tables.
    private static func ascii(_ category: UInt8) -> StaticString {
        switch category {
        case UInt8(ascii: "l"): "A-Za-z"
        case UInt8(ascii: "n"): "0-9"
        case UInt8(ascii: "p"): #"!-#%-*,-\/:;?@\[-\]_{}"#
        case UInt8(ascii: "s"): #"$+<->\^`|~"#
        default: ""
        }
    }

    /// Unicode's White_Space.
    private static let spaces: StaticString =
        #"\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"#

    private mutating func write(class items: StaticString, isNegative: Bool, _ inClass: Bool) throws(TokenizerError) {
        if !wide {
            // The same but for U+180E, and faster.
            for byte in (isNegative ? "\\S" : "\\s").utf8 { out.append(byte) }
        } else if inClass {
            guard !isNegative else { throw Self.unsupported }
            out.append(contentsOf: items.bytes)
        } else {
            for byte in (isNegative ? "[^" : "[").utf8 { out.append(byte) }
            out.append(contentsOf: items.bytes)
            out.append(UInt8(ascii: "]"))
        }
    }

    private mutating func write(_ first: UInt32, _ last: UInt32) {
        for (index, value) in [first, last].enumerated() {
            if index == 1 { out.append(UInt8(ascii: "-")) }
            for byte in "\\x{".utf8 { out.append(byte) }
            for shift in stride(from: UInt32(20), through: 0, by: -4) {
                let digit = UInt8(value >> shift & 15)
                out.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "A") - 10 + digit)
            }
            out.append(UInt8(ascii: "}"))
        }
    }
}
