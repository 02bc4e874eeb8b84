import Foundation

/// A process of this machine, as the kernel describes it.
struct RunningProcess {
    /// Seconds since 1970, to about one.
    let start: Double
    /// The name of its executable file; nil where we may not know it.
    let program: String?

    /// Nil: there is none, or it has ended and only waits to be counted.
    init?(_ number: Int32) {
        // Its name comes first, in parentheses, and may have anything in it.
        guard let status = try? String(contentsOfFile: "/proc/\(number)/stat", encoding: .utf8),
            let name = status.lastIndex(of: ")"), let boot = Self.boot
        else { return nil }
        let words = status[name...].split(separator: " ")
        guard words.count > 20, words[1] != "Z", words[1] != "X", let ticks = Double(words[20]) else { return nil }
        start = boot + ticks / Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        let file = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(number)/exe")
        // Of one that was replaced on disk while it runs.
        let path = file.map { $0.hasSuffix(" (deleted)") ? String($0.dropLast(10)) : $0 }
        program = path.map { URL(fileURLWithPath: $0).lastPathComponent }
    }

    /// When the machine was started, in seconds since 1970.
    private static var boot: Double? {
        guard let text = try? String(contentsOfFile: "/proc/stat", encoding: .utf8) else { return nil }
        return text.split(separator: "\n").first { $0.hasPrefix("btime ") }.flatMap { Double($0.dropFirst(6)) }
    }
}
