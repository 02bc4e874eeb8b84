internal import CGotoni
internal import GotoniCore

// How values cross: handles, statuses, structs that grow, arrays that are described by pointer and count. Every pointer
// of the boundary is checked in this file.

/// Runs `body` and turns an error into its code.
@inline(__always) func status(_ body: () throws(RouterError) -> Void) -> gotoni_status {
    do throws(RouterError) {
        try body()
        return gotoni_status(GOTONI_OK)
    } catch {
        return error.rawValue
    }
}

/// Runs `body` on the router behind a handle, under its lock, and turns an error into its code.
@inline(__always) func locked(
    _ handle: OpaquePointer?, _ body: (inout Router) throws(RouterError) -> Void
) -> gotoni_status {
    status { () throws(RouterError) in try router(handle).withRouter(body) }
}

/// The router behind a handle. Errors: argument (NULL).
@inline(__always) func router(_ handle: OpaquePointer?) throws(RouterError) -> SharedRouter {
    guard let handle else { throw .argument }
    return Unmanaged<SharedRouter>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
}

/// Errors: argument (NULL).
@inline(__always) func required<T>(_ pointer: UnsafeMutablePointer<T>?) throws(RouterError) -> UnsafeMutablePointer<T> {
    guard let pointer else { throw .argument }
    return pointer
}

// MARK: Structs that grow
//
// Every struct begins with `uint32_t struct_size`, as the caller's header knew it. Reading takes that many bytes and
// zeroes the rest; writing stops there.

/// The size of the field struct_size.
private let sizeField = 4

/// Every version of every struct is some multiple of eight bytes; another size would cut a field in two.
func structSize<T>(_ pointer: UnsafePointer<T>) throws(RouterError) -> Int {
    let size = Int(UnsafeRawPointer(pointer).loadUnaligned(as: UInt32.self))
    guard size > 0, size % 8 == 0 else { throw .argument }
    return size
}

/// A struct of `size` bytes from the caller; fields its header did not know are as in `zero`.
func read<T: BitwiseCopyable>(_ pointer: UnsafeRawPointer, size: Int, _ zero: T) -> T {
    var value = zero
    let known = UnsafeRawBufferPointer(start: pointer, count: min(size, MemoryLayout<T>.size))
    withUnsafeMutableBytes(of: &value) { $0.copyMemory(from: known) }
    return value
}

/// A struct from the caller that says its own size. Errors: argument (NULL, size).
func read<T: BitwiseCopyable>(_ pointer: UnsafePointer<T>?, _ zero: T) throws(RouterError) -> T {
    guard let pointer else { throw .argument }
    return read(UnsafeRawPointer(pointer), size: try structSize(pointer), zero)
}

/// Writes as much of `value` as a struct of `size` bytes has, and leaves its struct_size as it is.
func write<T: BitwiseCopyable>(_ value: T, to target: UnsafeMutableRawPointer, size: Int) {
    var value = value
    let count = min(size, MemoryLayout<T>.size) - sizeField
    withUnsafeBytes(of: &value) {
        (target + sizeField).copyMemory(from: $0.baseAddress! + sizeField, byteCount: count)
    }
}

/// Writes into a struct of the caller's that has its struct_size set.
func write<T: BitwiseCopyable>(_ value: T, to target: UnsafeMutablePointer<T>) throws(RouterError) {
    write(value, to: UnsafeMutableRawPointer(target), size: try structSize(target))
}

// MARK: Arrays

/// `count` elements at `pointer`; if there are none it is not looked at.
/// Errors: argument (NULL, misaligned), range (a count that no array has).
@inline(__always) func elements<T>(
    _ pointer: UnsafePointer<T>?, _ count: Int
) throws(RouterError) -> UnsafeBufferPointer<T> {
    if count == 0 { return UnsafeBufferPointer(start: nil, count: 0) }
    guard count > 0 else { throw .range }
    guard isUsable(pointer) else { throw .argument }
    return UnsafeBufferPointer(start: pointer, count: count)
}

/// Sets `*count` to how many there are. Errors: argument (NULL with a capacity, misaligned), buffer (they do not fit).
func fit<T>(
    _ available: Int, _ array: UnsafeMutablePointer<T>?, _ capacity: Int, _ count: UnsafeMutablePointer<Int>
) throws(RouterError) {
    guard capacity == 0 || isUsable(UnsafePointer(array)) else { throw .argument }
    count.pointee = available
    // A size_t beyond Int.max arrives negative and is room enough for anything.
    guard capacity < 0 || capacity >= available else { throw .buffer }
}

/// Neither NULL nor misaligned.
func isUsable<T>(_ array: UnsafePointer<T>?) -> Bool {
    array != nil && Int(bitPattern: array) % MemoryLayout<T>.alignment == 0
}

/// The bytes of a NUL-terminated name, without the NUL. Errors: argument (NULL).
func withName<R>(
    _ name: UnsafePointer<CChar>?, _ body: (Span<UInt8>) throws(RouterError) -> R
) throws(RouterError) -> R {
    guard let name else { throw .argument }
    var length = 0
    while name[length] != 0 { length += 1 }
    let bytes = UnsafeRawBufferPointer(start: name, count: length).assumingMemoryBound(to: UInt8.self)
    return try body(Span(_unsafeElements: bytes))
}

func cString(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}
