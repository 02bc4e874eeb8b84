/// Writes little-endian values one after the other, as far as they fit, and counts all of them: one pass both measures
/// and writes.
struct ByteWriter {
    private let target: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(_ target: UnsafeMutableRawBufferPointer) { self.target = target }

    mutating func put<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
        let size = MemoryLayout<T>.size
        if count + size <= target.count { target.storeBytes(of: value.littleEndian, toByteOffset: count, as: T.self) }
        count += size
    }

    mutating func put(_ value: Double) { put(value.bitPattern) }

    /// What has been written so far.
    var written: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: target.prefix(count)) }
}

/// Reads them back; reading past the end is an error.
struct ByteReader {
    private let source: UnsafeRawBufferPointer
    private(set) var position = 0

    init(_ source: UnsafeRawBufferPointer) { self.source = source }

    var left: Int { source.count - position }

    mutating func get<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(RouterError) -> T {
        guard left >= MemoryLayout<T>.size else { throw .snapshot }
        defer { position += MemoryLayout<T>.size }
        return T(littleEndian: source.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    mutating func getDouble() throws(RouterError) -> Double { Double(bitPattern: try get(UInt64.self)) }

    /// Refuses what is outside the bounds; NaN is inside none.
    mutating func getDouble(in bounds: ClosedRange<Double>) throws(RouterError) -> Double {
        let value = try getDouble()
        guard bounds.contains(value) else { throw .snapshot }
        return value
    }
}
