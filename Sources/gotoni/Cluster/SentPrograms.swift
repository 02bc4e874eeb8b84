import Foundation

/// Programs of this machine that are sent to others, with the libraries that they look for in ../lib/gotoni.
struct SentPrograms: Sendable {
    private let folder: String
    private let files: [SentFile]

    /// Errors: one that is neither beside gotoni nor in PATH.
    init(_ names: [String]) throws(CommandError) {
        var found: [(path: String, place: String)] = []
        for name in names {
            let path = try LocalProgram.own(name)
            for file in [(path, "bin/\(name)")] + Self.libraries(of: path)
            where !found.contains(where: { $0.place == file.1 }) { found.append(file) }
        }
        let folder = try Files.temporaryFolder()
        self.folder = folder
        files = found.map {
            SentFile(path: $0.path, place: $0.place, packed: "\(folder)/\($0.place.replacing("/", with: "-")).gz")
        }
    }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }

    /// Sends the program where it is not.
    var steps: [Step] {
        files.map { file in
            let name = file.place.split(separator: "/").last.map(String.init) ?? ""
            return Step(
                name: name,
                look: { (machine) throws(CommandError) in
                    try await machine.look("look_program", [file.place, try await file.sha256()])
                },
                act: { (machine) throws(CommandError) in
                    _ = try await machine.cluster(
                        "act_program", [file.place, try await file.sha256()], input: try await file.pack(),
                        limit: .seconds(900), doing: "Sending \(name)")
                })
        }
    }

    private static func libraries(of program: String) -> [(path: String, place: String)] {
        let folder = URL(filePath: program).resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "../lib/gotoni").standardizedFileURL.path
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.sorted().map { ("\(folder)/\($0)", "lib/gotoni/\($0)") }
    }
}

/// Packed when the first machine wants it, because that takes seconds; and once, however many there are.
private actor SentFile {
    private let path: String
    /// Where it lies there, below gotoni's folder.
    nonisolated let place: String
    private let packed: String
    private var sum: Task<Result<String, CommandError>, Never>?
    private var packing: Task<Result<String, CommandError>, Never>?

    init(path: String, place: String, packed: String) {
        (self.path, self.place, self.packed) = (path, place, packed)
    }

    func sha256() async throws(CommandError) -> String {
        let task = sum ?? Task { [path] in await Self.result(of: #"sha256sum "$1" | cut -d' ' -f1"#, [path]) }
        sum = task
        return try await task.value.get()
    }

    /// The path of the packed file.
    func pack() async throws(CommandError) -> String {
        let task =
            packing ?? Task { [path, packed] in await Self.result(of: #"gzip -1 -n -c "$1" >"$2""#, [path, packed]) }
        packing = task
        _ = try await task.value.get()
        return packed
    }

    /// What a shell's `line` says. Errors: it failed.
    private static func result(of line: String, _ words: [String]) async -> Result<String, CommandError> {
        do throws(CommandError) {
            let answer = try await Program(name: "sh", arguments: ["-c", line, "sh"] + words).run(limit: .seconds(120))
            guard answer.status == 0 else {
                return .failure(CommandError("\(words[0]) cannot be packed.", lines: answer.errors))
            }
            return .success(answer.output.trimmingCharacters(in: .whitespacesAndNewlines))
        } catch {
            return .failure(error)
        }
    }
}
