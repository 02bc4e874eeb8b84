// One small type for each number that means something, so that milliseconds can never be added to tokens.

/// A point in time or a length of time, in nanoseconds of whatever monotonic clock the caller uses.
public struct Nanoseconds: RawRepresentable, Comparable, Sendable, BitwiseCopyable {
    public var rawValue: UInt64

    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// `milliseconds` must be finite and not negative; too large values saturate.
    public init(milliseconds: Double) {
        let value = milliseconds * 1_000_000
        rawValue = value < 18_000_000_000_000_000_000 ? UInt64(value) : .max
    }

    @inlinable public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    @inlinable public var milliseconds: Double { Double(rawValue) / 1e6 }

    /// The time since `earlier`, zero if `earlier` is later.
    @inlinable public func since(_ earlier: Self) -> Self {
        Self(rawValue > earlier.rawValue ? rawValue - earlier.rawValue : 0)
    }
}

/// A caller-chosen name of a server; never interpreted.
public struct ServerID: RawRepresentable, Equatable, Sendable, BitwiseCopyable {
    public var rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// The receipt of a routed request. Zero is never issued.
public struct Ticket: RawRepresentable, Equatable, Sendable, BitwiseCopyable {
    public var rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// The row of a server in the router's tables, from 0; used again after the server is removed.
typealias Slot = UInt16
