public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_snapshot_save(
    _ handle: OpaquePointer?, _ buffer: UnsafeMutableRawPointer?, _ capacity: Int, _ size: UnsafeMutablePointer<Int>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let size = try required(size)
        guard capacity >= 0, buffer != nil || capacity == 0 else { throw .argument }
        let target = UnsafeMutableRawBufferPointer(start: buffer, count: capacity)
        size.pointee = try router(handle).withRouter { (router) throws(RouterError) in try router.save(into: target) }
        guard size.pointee <= target.count else { throw .buffer }
    }
}

@c @implementation public func gotoni_snapshot_load(
    _ handle: OpaquePointer?, _ buffer: UnsafeRawPointer?, _ size: Int, _ now: UInt64
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        guard let buffer, size >= 0 else { throw .argument }
        try router.load(from: UnsafeRawBufferPointer(start: buffer, count: size), now: Nanoseconds(now))
    }
}
