import Foundation

/// Waits for machines with one question for all of them.
struct Waiting {
    var cloud: any Cloud
    var limit: Duration

    /// Until all are active. Errors: 124 in time, 1 if one ends.
    func active(_ ids: [String]) async throws(CommandError) -> [CloudMachine] {
        let clock = ContinuousClock()
        let start = clock.now
        var shown = ""
        var seen: Set<String> = []
        while true {
            let found = try await cloud.machines().filter { ids.contains($0.id) }
            // One that was just launched may not be in the list yet.
            let lost = ids.filter { id in
                found.first { $0.id == id }.map { !$0.isRunning && $0.status != .other } ?? seen.contains(id)
            }
            seen.formUnion(found.map(\.id))
            guard lost.isEmpty else {
                throw CommandError("It ended instead of starting:", lines: lost.joined(separator: "\n"))
            }
            let ready = found.filter(\.isReady)
            if ready.count == ids.count { return ready }
            let state = found.map { "\($0.label) \($0.status.rawValue)" }.joined(separator: ", ")
            if state != shown {
                shown = state
                Progress.say("\((clock.now - start).components.seconds) s: \(state)")
            }
            guard clock.now - start < limit else {
                throw CommandError(
                    "Not all are active after \(limit); they go on starting, see gotoni list.", exitCode: 124)
            }
            try? await Task.sleep(for: cloud.pause)
        }
    }
}
