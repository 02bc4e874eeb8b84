import GotoniCore

/// What sending a prompt costs besides half a round trip.
public enum Upload: Equatable, Sendable {
    case none
    /// A body of `bytesPerToken` over a connection whose window begins at `initialWindow` bytes and doubles every round
    /// trip, at `bytesPerSecond` on the wire: TCP's slow start after an idle time (RFC 6928, RFC 5681).
    case slowStart(bytesPerToken: Double, initialWindow: Double, bytesPerSecond: Double)
    /// Milliseconds per token, and per token and millisecond of round trip: a regression.
    case linear(perToken: Double, perTokenAndRTT: Double)

    /// 5 bytes a token (20,000 tokens are about 100 kB of JSON), 10 segments of 1,460 bytes, 1 Gbit/s.
    public static let standard = Upload.slowStart(bytesPerToken: 5, initialWindow: 14_600, bytesPerSecond: 125_000_000)
    /// The regression on the public L40S logs of GORGO v3: 0.0231 ms per prompt token and 0.000159 per token and ms.
    public static let measured = Upload.linear(perToken: 0.0231, perTokenAndRTT: 0.000159)

    public var name: String {
        switch self {
        case .none: "none"
        case .slowStart(let bytesPerToken, let initialWindow, let bytesPerSecond):
            "slow start: \(bytesPerToken) bytes a token, window \(initialWindow) bytes, \(bytesPerSecond) bytes/s"
        case .linear(let perToken, let perTokenAndRTT):
            "linear: \(perToken) ms a token, \(perTokenAndRTT) ms a token and ms of round trip"
        }
    }

    /// Milliseconds for a prompt of `tokens` over a path of `rtt` milliseconds. The first window leaves with the request.
    func milliseconds(tokens: Int, rtt: Double) -> Double {
        switch self {
        case .none:
            return 0
        case .slowStart(let bytesPerToken, let initialWindow, let bytesPerSecond):
            let bytes = Double(tokens) * bytesPerToken
            var (sent, window, rounds) = (initialWindow, initialWindow, 0.0)
            // A window of a bandwidth-delay product fills the path: from there on only the wire counts.
            while sent < bytes, window < bytesPerSecond * rtt / 1_000 {
                window *= 2
                sent += window
                rounds += 1
            }
            return rounds * rtt + bytes / bytesPerSecond * 1_000
        case .linear(let perToken, let perTokenAndRTT):
            return Double(tokens) * (perToken + perTokenAndRTT * rtt)
        }
    }
}

/// Round trips between the places of the simulated world, in milliseconds.
///
/// Region 0 is the nearest to the proxy. Between two regions the round trip is the larger of theirs to the proxy, for
/// nobody published it; any distance from the difference to the sum would be possible.
public struct Network: Equatable, Sendable {
    /// From the proxy to each region.
    public var rtt: [Double]
    /// Each leg is stretched by an exponential share with this mean: 0.05 adds 5 % on average.
    public var jitter = 0.0
    public var upload = Upload.standard

    public init(rtt: [Double]) { self.rtt = rtt }

    /// What the GORGO proxy believed in its tuning run: the mean of its filter to Ashburn, Frankfurt, Seoul.
    public static let believed = Network(rtt: [37, 279, 456])
    /// What the same paths really were: smallest round trips of the authors' logs (GORGO v3).
    public static let physical = Network(rtt: [26, 120, 210])

    /// One way, `milliseconds` being the round trip.
    func leg(_ milliseconds: Double, _ chance: inout SplitMix64) -> Nanoseconds {
        let stretch = jitter > 0 ? 1 + jitter * chance.exponential() : 1
        return Nanoseconds(milliseconds: milliseconds / 2 * stretch)
    }
}
