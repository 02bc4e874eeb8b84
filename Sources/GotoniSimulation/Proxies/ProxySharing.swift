/// What several proxies in front of the same servers tell each other.
public enum ProxySharing: Equatable, Sendable {
    /// Each knows what it has sent itself, and what engines report.
    case nothing
    /// Each tells all others what it sends, as `gotoni-proxy --nats` does.
    case everything(tellMs: Double)
    /// Within a region each tells the others; of other regions a proxy knows a digest and a price, and it passes a request on to
    /// a proxy there, once, if that is cheaper than every server of its own region.
    case regions(tellMs: Double, RegionDigestSettings)
}

public struct RegionDigestSettings: Equatable, Sendable {
    /// Of so many blocks one is marked, in so many bits; 0 bits: there is no digest, only a price.
    public var every = 8.0
    public var bits = 16.0
    /// Until other regions have what is new in it, and between two prices.
    public var delayMs = 1_000.0
    public var priceMs = 100.0
}

extension ProxySharing {
    /// By the name behind @. Nil: that is none. Errors: a parameter out of bounds.
    init?(_ name: String, _ parameters: inout Parameters) throws(SimulationError) {
        // An interval of 50 ms, and a message over NATS.
        func tellMs() throws(SimulationError) -> Double { try parameters.take("tell_ms", 50, in: 0...60_000) }
        switch name {
        case "apart": self = .nothing
        case "sharing": self = .everything(tellMs: try tellMs())
        case "regions":
            var settings = RegionDigestSettings()
            settings.every = try parameters.take("digest_every", settings.every, in: 1...1_024).rounded()
            settings.bits = try parameters.take("digest_bits", settings.bits, in: 0...64)
            settings.delayMs = try parameters.take("digest_ms", settings.delayMs, in: 0...3_600_000)
            settings.priceMs = try parameters.take("price_ms", settings.priceMs, in: 1...3_600_000)
            self = .regions(tellMs: try tellMs(), settings)
        default: return nil
        }
    }
}
