import Foundation

/// Whether a program on a machine answers, asked from here: so nothing but a shell is wanted there.
enum Health {
    /// SGLang generates a token to answer /health, and looks for it once a second.
    private static let patience = Duration.seconds(6)

    static func answers(_ machine: Machine, _ place: String, _ path: String, token: String? = nil) async -> Bool {
        guard let way = try? await machine.reach(place) else { return false }
        return await answers(way, path, token)
    }

    private static func answers(_ way: HTTP.Place, _ path: String, _ token: String?) async -> Bool {
        let fields = token.map { [("authorization", "Bearer \($0)")] } ?? []
        let answer = try? await HTTP.ask(.get, path, fields: fields, at: way, limit: patience)
        return answer.map { (200..<300).contains($0.status) } ?? false
    }

    /// Until it answers. `alive`: a verb that fails, with its last words, once it has ended.
    static func wait(
        _ machine: Machine, _ place: String, _ path: String, token: String? = nil, alive: [String], limit: Duration,
        name: String
    ) async throws(CommandError) {
        let way = try await machine.reach(place)
        // Of a container there is none but the engine's.
        let log = alive.count > 1 ? alive[1] : "engine"
        let clock = ContinuousClock()
        let start = clock.now
        var said = start
        while true {
            if await answers(way, path, token) { return }
            let state = try await machine.cluster(
                alive[0], Array(alive.dropFirst()), expecting: [1], doing: "Looking at \(name)")
            if state.status == 1 {
                throw CommandError("\(name) ended instead of starting; its last words:", lines: state.errors)
            }
            guard clock.now - start < limit else {
                throw CommandError(
                    "\(name) does not answer after \(limit); it goes on starting, see gotoni logs \(machine.name) --\(log).",
                    exitCode: 124)
            }
            if clock.now - said > .seconds(30) {
                said = clock.now
                Progress.say("\(machine.prefix)\(name) loads, \((clock.now - start).components.seconds) s so far")
            }
            try? await Task.sleep(for: clock.now - start < .seconds(5) ? .milliseconds(200) : .seconds(2))
        }
    }
}
