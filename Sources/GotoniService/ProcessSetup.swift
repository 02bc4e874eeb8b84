@preconcurrency import Dispatch
import Foundation
import Glibc

/// Signals as they come, one after the other.
struct Signals: Sendable {
    private let stream: AsyncStream<Int32>
    private let sources: [any DispatchSourceSignal]

    init(_ numbers: [Int32]) {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
        self.stream = stream
        sources = numbers.map { number in
            Glibc.signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }

    func next() async -> Int32 {
        var iterator = stream.makeAsyncIterator()
        return await iterator.next() ?? SIGTERM
    }
}

enum OpenFiles {
    /// As many descriptors as we may have: each request needs two.
    static func raiseLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

enum PIDFile {
    static func write(_ path: String) throws {
        guard let file = fopen(path, "w") else { throw ServiceError("cannot write the pid file \(path)") }
        fputs("\(getpid())\n", file)
        fclose(file)
    }

    /// A successor may have written its own meanwhile.
    static func remove(_ path: String) {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), Int32(text.trimmed) == getpid() else {
            return
        }
        unlink(path)
    }
}

/// A sentence about what is wrong with a setting or the process's surroundings.
public struct ServiceError: Error, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}
