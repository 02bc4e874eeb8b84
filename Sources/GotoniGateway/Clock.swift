import GotoniCore
import Glibc
import NIOCore

/// The one clock: monotonic.
enum Clock {
    @inline(__always) static func now() -> Nanoseconds { Nanoseconds(NIODeadline.now().uptimeNanoseconds) }
}

extension Nanoseconds {
    func plus(_ other: Nanoseconds) -> Nanoseconds {
        let (sum, overflow) = rawValue.addingReportingOverflow(other.rawValue)
        return Nanoseconds(overflow ? .max : sum)
    }
    var timeAmount: TimeAmount { .nanoseconds(Int64(clamping: rawValue)) }
}

/// For what people read; never for differences.
enum WallClock {
    /// Seconds since 1970.
    static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
