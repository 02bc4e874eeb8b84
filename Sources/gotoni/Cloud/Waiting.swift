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

    /// Until all of `machines` take commands, and with `engine` until the engine of each, as its cluster has it, answers.
    /// Errors: 124.
    func commands(_ machines: [CloudMachine], _ ssh: SSHOptions, engine: Bool) async throws {
        let found = try machines.map { machine in
            MachineOptions.Found(
                name: machine.label, machine: machine, link: try ssh.link(to: machine, of: cloud))
        }
        let clusters = found.map { Cluster.having($0.key) }
        if engine, let index = clusters.firstIndex(where: { $0 == nil }) {
            throw CommandError("\(found[index].name) belongs to no cluster that was set up from here.", exitCode: 5)
        }
        let clock = ContinuousClock()
        let end = clock.now + limit
        try await ssh.connected(to: found) { connected in
            let late = await concurrently(Array(zip(found, zip(connected, clusters)))) { found, place -> String? in
                let (machine, cluster) = place
                Progress.say("waiting for \(found.name)")
                var last: CommandError?
                while clock.now < end, last?.exitCode != 4 {
                    do throws(CommandError) {
                        last = nil
                        _ = try await machine.run(["true"], limit: .seconds(20))
                    } catch {
                        last = error
                    }
                    if last == nil {
                        guard engine, let cluster, let member = cluster.members.first(where: { $0.key == found.key })
                        else { return nil }
                        if await Health.answers(machine, Cluster.place(member, cluster.engine.port), "/health") {
                            return nil
                        }
                    }
                    try? await Task.sleep(for: .seconds(1))
                }
                if let last { Progress.say("\(found.name): \(last)") }
                return found.name
            }
            guard late.allSatisfy({ $0 == nil }) else {
                throw CommandError(
                    "After \(limit) these do not answer: \(late.compactMap { $0 }.joined(separator: ", ")).",
                    exitCode: 124)
            }
        }
    }
}
