import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

struct TimedOut: Error, CustomStringConvertible {
    var description: String
}

/// A state that others change and tests wait for. Waiting is a continuation that the change resumes; the deadline is only
/// there to end a test that would hang.
final class Watched<State>: @unchecked Sendable {
    private let lock = NIOLock()
    private var state: State
    private var waiters: [(id: UInt64, attempt: (inout State) -> Bool)] = []
    private var nextID: UInt64 = 0

    init(_ state: sending State) { self.state = state }

    @discardableResult func update<Result>(_ change: (inout State) throws -> Result) rethrows -> Result {
        try lock.withLock {
            let result = try change(&state)
            waiters.removeAll { $0.attempt(&state) }
            return result
        }
    }

    func read<Result>(_ look: (State) throws -> Result) rethrows -> Result { try lock.withLock { try look(state) } }

    /// What `condition` gives as soon as it gives something. It may change the state, such as by taking from a queue.
    func wait<Result: Sendable>(
        _ what: String, within seconds: Int64 = 10, _ condition: @escaping (inout State) -> Result?
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Result, any Error>) in
            lock.withLock {
                if let result = condition(&state) { return continuation.resume(returning: result) }
                nextID += 1
                let id = nextID
                let timer = MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .seconds(seconds)) {
                    let isWaiting = self.lock.withLock {
                        let count = self.waiters.count
                        self.waiters.removeAll { $0.id == id }
                        return self.waiters.count < count
                    }
                    if isWaiting { continuation.resume(throwing: TimedOut(description: "waited in vain for \(what)")) }
                }
                waiters.append(
                    (
                        id,
                        { state in
                            guard let result = condition(&state) else { return false }
                            timer.cancel()
                            continuation.resume(returning: result)
                            return true
                        }
                    ))
            }
        }
    }
}

/// Waits for something inside the gateway that tells nobody: looks again at once, up to a deadline.
func eventually(
    _ what: String, within seconds: Int64 = 10, sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () throws -> Bool
) async throws {
    let deadline = NIODeadline.now() + .seconds(seconds)
    while try !condition() {
        guard NIODeadline.now() < deadline else {
            Issue.record("waited in vain for \(what)", sourceLocation: sourceLocation)
            throw TimedOut(description: what)
        }
        // A turn of an event loop: others get to run.
        try await MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .milliseconds(1)) {}.futureResult.get()
    }
}
