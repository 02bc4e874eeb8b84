public import GotoniCore

// Virtual time: nanoseconds since the simulation began, the router's own unit.

extension Nanoseconds {
    public static let zero = Nanoseconds(0)

    public init(seconds: Double) { self.init(milliseconds: seconds * 1_000) }

    public var seconds: Double { Double(rawValue) / 1_000_000_000 }

    /// At most the end of time.
    public static func + (a: Self, b: Self) -> Self {
        let (sum, overflow) = a.rawValue.addingReportingOverflow(b.rawValue)
        return Self(overflow ? .max : sum)
    }
}
