import Foundation

/// Programs of this machine that are sent to others, packed once however many there are.
struct SentPrograms: Sendable {
    struct Item: Sendable {
        var name: String
        var sha256: String
        /// Compressed, in a folder that `remove` deletes.
        var packed: String
    }

    private let folder: String
    private let items: [Item]

    /// Errors: one that is neither beside gotoni nor in PATH.
    init(_ names: [String]) async throws(CommandError) {
        folder = try Files.temporaryFolder()
        var items: [Item] = []
        do throws(CommandError) {
            for name in names { items.append(try await Self.pack(name, into: folder)) }
        } catch {
            try? FileManager.default.removeItem(atPath: folder)
            throw error
        }
        self.items = items
    }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }

    /// Sends the program where it is not.
    var steps: [Step] {
        items.map { item in
            let words = [item.name, item.sha256]
            return Step(
                name: item.name,
                look: { (machine) throws(CommandError) in try await machine.look("look_program", words) },
                act: { (machine) throws(CommandError) in
                    _ = try await machine.cluster(
                        "act_program", words, input: item.packed, limit: .seconds(900), doing: "Sending \(item.name)")
                })
        }
    }

    private static func pack(_ name: String, into folder: String) async throws(CommandError) -> Item {
        let packed = "\(folder)/\(name).gz"
        let path = try LocalProgram.own(name)
        let answer = try await Program(
            name: "sh", arguments: ["-c", #"gzip -1 -n -c "$1" >"$2" && sha256sum "$1""#, "sh", path, packed]
        )
        .run(limit: .seconds(120))
        guard answer.status == 0, let sha256 = answer.output.split(separator: " ").first else {
            throw CommandError("\(path) cannot be packed.", lines: answer.errors)
        }
        return Item(name: name, sha256: String(sha256), packed: packed)
    }
}
