public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_router_create(
    _ config: UnsafePointer<gotoni_config>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> gotoni_status {
    status { () throws(RouterError) in
        let out = try required(out)
        out.pointee = nil
        let configuration =
            try config.map { (pointer) throws(RouterError) in
                Configuration(try read(pointer, gotoni_config()))
            } ?? Configuration()
        let router = try SharedRouter(configuration)
        out.pointee = OpaquePointer(Unmanaged.passRetained(router).toOpaque())
    }
}

@c @implementation public func gotoni_router_destroy(_ handle: OpaquePointer?) {
    guard let handle else { return }
    Unmanaged<SharedRouter>.fromOpaque(UnsafeRawPointer(handle)).release()
}

@c @implementation public func gotoni_router_check(_ handle: OpaquePointer?) -> gotoni_status {
    status { () throws(RouterError) in
        let violation = try router(handle).withRouter { (router) throws(RouterError) in try router.violation() }
        guard violation == nil else { throw .corrupt }
    }
}

extension Configuration {
    /// Zero means the default.
    init(_ config: gotoni_config) {
        self.init()
        seed = config.seed
        if config.block_tokens != 0 { blockTokens = Int(config.block_tokens) }
        if config.memory_budget_bytes != 0 { memoryBudgetBytes = config.memory_budget_bytes }
        if config.max_prompt_tokens != 0 { maxPromptTokens = config.max_prompt_tokens }
        if config.default_kv_capacity_tokens != 0 { defaultKVCapacityTokens = config.default_kv_capacity_tokens }
        if config.max_servers != 0 { maxServers = config.max_servers }
        if config.max_tickets != 0 { maxTickets = config.max_tickets }
    }
}
