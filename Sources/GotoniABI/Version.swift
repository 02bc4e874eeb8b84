internal import CGotoni

@c @implementation public func gotoni_abi_version() -> UInt32 { UInt32(GOTONI_ABI_VERSION) }

@c @implementation public func gotoni_version() -> UnsafePointer<CChar>? { cString("0.1.0") }
