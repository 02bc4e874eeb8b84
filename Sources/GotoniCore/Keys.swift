import CXXHash

/// 64-bit keys of things that are only ever compared.
public enum Key {
    /// XXH3-64 of any bytes.
    public static func of(_ bytes: RawSpan) -> UInt64 {
        bytes.withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }
    }

    /// The namespace of a prompt. Each part is hashed together with the hash and length of the parts before it, so
    /// ("ab", "c") and ("a", "bc") differ, and so do an adapter and a salt of the same name.
    public static func namespace(model: RawSpan, adapter: RawSpan, salt: RawSpan) -> UInt64 {
        var key = UInt64(0)
        key = chain(key, model)
        key = chain(key, adapter)
        return chain(key, salt)
    }

    private static func chain(_ key: UInt64, _ part: RawSpan) -> UInt64 {
        let hash = part.withUnsafeBytes { XXH3_64bits_withSeed($0.baseAddress, $0.count, key) }
        return mix(hash ^ UInt64(part.byteCount), key)
    }

    /// One number from two, both well spread in the result (the finalizer of SplitMix64).
    @inline(__always) static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        var random = SplitMix64(seed: a ^ (b &* 0xD6E8_FEB8_6659_FD93))
        return random.next()
    }
}
