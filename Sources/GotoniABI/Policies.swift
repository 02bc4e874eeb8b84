public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_policy_set(_ handle: OpaquePointer?, _ policy: UInt32) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        guard let policy = PolicyID(rawValue: policy) else { throw .unknownPolicy }
        router.setPolicy(policy)
    }
}

@c @implementation public func gotoni_policy_get(
    _ handle: OpaquePointer?, _ policy: UnsafeMutablePointer<UInt32>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let target = try required(policy)
        target.pointee = router.policy.rawValue
    }
}

@c @implementation public func gotoni_policy_name(_ policy: UInt32) -> UnsafePointer<CChar>? {
    PolicyID(rawValue: policy).map { cString($0.name) }
}

@c @implementation public func gotoni_policy_from_name(
    _ name: UnsafePointer<CChar>?, _ policy: UnsafeMutablePointer<UInt32>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let target = try required(policy)
        target.pointee = try withName(name) { (name) throws(RouterError) in try PolicyID(name: name).rawValue }
    }
}

private func known(_ knob: UInt32) throws(RouterError) -> Knob {
    guard let knob = Knob(rawValue: knob) else { throw .unknownKnob }
    return knob
}

@c @implementation public func gotoni_knob_set(
    _ handle: OpaquePointer?, _ knob: UInt32, _ value: Double
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let knob = try known(knob)
        try router.set(knob, to: value)
    }
}

@c @implementation public func gotoni_knob_get(
    _ handle: OpaquePointer?, _ knob: UInt32, _ value: UnsafeMutablePointer<Double>?
) -> gotoni_status {
    locked(handle) { (router) throws(RouterError) in
        let target = try required(value)
        let knob = try known(knob)
        target.pointee = router.value(of: knob)
    }
}

@c @implementation public func gotoni_knob_info_get(
    _ knob: UInt32, _ info: UnsafeMutablePointer<gotoni_knob_info>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let target = try required(info)
        try write(gotoni_knob_info(try known(knob)), to: target)
    }
}

@c @implementation public func gotoni_knob_from_name(
    _ name: UnsafePointer<CChar>?, _ knob: UnsafeMutablePointer<UInt32>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let target = try required(knob)
        target.pointee = try withName(name) { (name) throws(RouterError) in try Knob(name: name).rawValue }
    }
}

extension gotoni_knob_info {
    init(_ knob: Knob) {
        self.init()
        self.knob = knob.rawValue
        name = cString(knob.info.name)
        unit = cString(knob.info.unit)
        meaning = cString(knob.info.meaning)
        default_value = knob.info.defaultValue
        minimum = knob.info.bounds.lowerBound
        maximum = knob.info.bounds.upperBound
    }
}
