internal import CPlatform
internal import GotoniCore

/// `GotoniCore.Buffer` with this module's error.
func makeBuffer<Element: BitwiseCopyable>(_ count: Int) throws(TokenizerError) -> Buffer<Element> {
    do throws(RouterError) {
        return try Buffer(count: count)
    } catch {
        throw .memory
    }
}

/// A list that grows and is emptied without giving its memory back, unless it became large.
struct List<Element: BitwiseCopyable>: ~Copyable {
    private(set) var buffer: Buffer<Element>
    private(set) var count = 0

    init(capacity: Int = 256) throws(TokenizerError) { buffer = try makeBuffer(capacity) }

    var elements: UnsafeMutableBufferPointer<Element> { .init(start: buffer.base, count: count) }

    /// Room for `more`; returns where they go. They count once `add` says so.
    @inline(__always) mutating func reserve(_ more: Int) throws(TokenizerError) -> UnsafeMutablePointer<Element> {
        if count + more > buffer.count { try enlarge(count + more) }
        return buffer.base + count
    }

    @inline(__always) mutating func add(_ more: Int) {
        assert(count + more <= buffer.count)
        count += more
    }

    @inline(__always) mutating func append(_ element: Element) throws(TokenizerError) {
        try reserve(1).pointee = element
        count += 1
    }

    mutating func append(_ elements: UnsafeBufferPointer<Element>) throws(TokenizerError) {
        guard let base = elements.baseAddress else { return }
        try reserve(elements.count).copy(from: base, count: elements.count)
        count += elements.count
    }

    mutating func removeLast() { count -= 1 }

    @inline(never) private mutating func enlarge(_ size: Int) throws(TokenizerError) {
        do throws(RouterError) {
            try buffer.grow(to: size)
        } catch {
            throw .memory
        }
    }

    /// Empties it. What needed more than `most` elements gives its memory back.
    mutating func clear(keeping most: Int = 1 << 20) {
        count = 0
        if buffer.count > most, let smaller: Buffer<Element> = try? makeBuffer(256) { buffer = smaller }
    }
}

typealias Bytes = UnsafeBufferPointer<UInt8>

extension UnsafeBufferPointer where Element == UInt8 {
    @inline(__always) func part(_ range: Range<Int>) -> Bytes { Bytes(rebasing: self[range]) }
}

extension StaticString {
    /// Its bytes, for ever.
    var bytes: Bytes { Bytes(start: utf8Start, count: utf8CodeUnitCount) }
}

@inline(__always) func == (a: Bytes, b: StaticString) -> Bool { equal(a, b.bytes) }

@inline(__always) func equal(_ a: Bytes, _ b: Bytes) -> Bool {
    guard a.count == b.count else { return false }
    guard let x = a.baseAddress, let y = b.baseAddress else { return true }
    return memcmp(x, y, a.count) == 0
}
