internal import CGotoni
internal import GotoniCore

private func bytes(_ pointer: UnsafeRawPointer?, _ size: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: pointer, count: pointer == nil ? 0 : max(size, 0))
}

@c @implementation public func gotoni_key(_ pointer: UnsafeRawPointer?, _ size: Int) -> UInt64 {
    Key.of(RawSpan(_unsafeBytes: bytes(pointer, size)))
}

@c @implementation public func gotoni_namespace_key(
    _ model: UnsafePointer<CChar>?, _ modelSize: Int, _ adapter: UnsafePointer<CChar>?, _ adapterSize: Int,
    _ salt: UnsafePointer<CChar>?, _ saltSize: Int
) -> UInt64 {
    Key.namespace(
        model: RawSpan(_unsafeBytes: bytes(model, modelSize)),
        adapter: RawSpan(_unsafeBytes: bytes(adapter, adapterSize)),
        salt: RawSpan(_unsafeBytes: bytes(salt, saltSize)))
}
