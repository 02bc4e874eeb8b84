import Foundation

/// cluster.sh on a machine.
extension Machine {
    /// Starting, ending and looking; what takes longer says so.
    static let brief = Duration.seconds(60)

    /// Runs `verb`. A status that is neither 0 nor one of `expected` is an error.
    func cluster(
        _ verb: String, _ arguments: [String] = [], input: String? = nil, expecting: [Int32] = [],
        limit: Duration = Machine.brief, doing: String
    ) async throws(CommandError) -> Program.Answer {
        do throws(CommandError) {
            return try await run(
                script: PackageResources.cluster_sh, [verb] + arguments, input: input, expecting: expecting,
                limit: limit,
                doing: doing)
        } catch {
            // A script's own last word is better than that it failed.
            guard error.exitCode == 1, let last = error.lines.last, error.sentence.hasSuffix("failed.") else {
                throw error
            }
            var better = error
            (better.sentence, better.lines) = (last, error.lines.dropLast())
            throw better
        }
    }

    /// A verb that looks.
    func look(_ verb: String, _ arguments: [String] = [], input: String? = nil) async throws(CommandError)
        -> Step.Finding
    {
        let answer = try await cluster(verb, arguments, input: input, doing: "Looking")
        if let info = answer.value("holds") { return .holds(info) }
        if let what = answer.value("wants") { return .wants(what) }
        throw CommandError("The machine's answer was not understood.", lines: answer.output)
    }
}

extension Step {
    /// Steps that are only two verbs.
    init(
        _ name: String, look: String, act: String? = nil, _ arguments: [String], input: String? = nil,
        limit: Duration = Machine.brief
    ) {
        self.init(
            name: name,
            look: { (machine) throws(CommandError) in try await machine.look(look, arguments, input: input) },
            act: { (machine) throws(CommandError) in
                guard let act else { throw CommandError("This cannot be done from here.") }
                _ = try await machine.cluster(act, arguments, input: input, limit: limit, doing: name)
            })
    }
}
