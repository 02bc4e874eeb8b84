public import CPlatform

/// A fixed run of zeroed elements that this value owns: what holds memory outside the trie's cells.
///
/// Indexes are checked in debug builds. All-zero bytes must be a valid `Element`. Large buffers cost address space
/// only, until they are touched. Public for the modules of this package; inlinable, so that it costs them nothing.
public struct Buffer<Element: BitwiseCopyable>: ~Copyable {
    public let base: UnsafeMutablePointer<Element>
    public let count: Int

    @inlinable public init(count: Int) throws(RouterError) {
        guard let memory = gotoni_platform_allocate(max(count, 1), MemoryLayout<Element>.stride) else { throw .memory }
        base = memory.bindMemory(to: Element.self, capacity: max(count, 1))
        self.count = count
    }

    @inlinable deinit { gotoni_platform_free(base) }

    @inlinable public subscript(index: Int) -> Element {
        @inline(__always) get {
            assert(index >= 0 && index < count)
            return base[index]
        }
        @inline(__always) nonmutating _modify {
            assert(index >= 0 && index < count)
            yield &base[index]
        }
    }

    /// Sets the first `length` elements to `value`.
    @inlinable public func fill(_ length: Int, with value: Element) {
        assert(length <= count)
        base.update(repeating: value, count: length)
    }

    /// Grows to at least `newCount` by replacing the memory; new elements are zero.
    @inlinable public mutating func grow(to newCount: Int) throws(RouterError) {
        guard newCount > count else { return }
        let larger = try Buffer(count: max(newCount, count * 2))
        larger.base.copy(from: base, count: count)
        self = larger
    }
}

extension UnsafeMutablePointer where Pointee: BitwiseCopyable {
    /// As `update(from:count:)`, which Embedded Swift 6.3 compiles to a call for each element. They may overlap.
    @inlinable @inline(__always) public func copy(from source: UnsafePointer<Pointee>, count: Int) {
        UnsafeMutableRawPointer(self).copyMemory(from: source, byteCount: count * MemoryLayout<Pointee>.stride)
    }
}
