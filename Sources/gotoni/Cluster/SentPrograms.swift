import Foundation

/// Programs of this machine that are sent to others, packed once however many there are, with the libraries that they look
/// for in ../lib/gotoni.
struct SentPrograms: Sendable {
    private struct Item: Sendable {
        /// Where it lies there, below gotoni's folder.
        var place: String
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
            for name in names {
                let path = try LocalProgram.own(name)
                items.append(try await Self.pack(path, as: "bin/\(name)", into: folder))
                for library in Self.libraries(of: path) where !items.contains(where: { $0.place == library.place }) {
                    items.append(try await Self.pack(library.path, as: library.place, into: folder))
                }
            }
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
            let words = [item.place, item.sha256]
            let name = item.place.split(separator: "/").last.map(String.init) ?? ""
            return Step(
                name: name,
                look: { (machine) throws(CommandError) in try await machine.look("look_program", words) },
                act: { (machine) throws(CommandError) in
                    _ = try await machine.cluster(
                        "act_program", words, input: item.packed, limit: .seconds(900), doing: "Sending \(name)")
                })
        }
    }

    private static func libraries(of program: String) -> [(path: String, place: String)] {
        let folder = URL(filePath: program).resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "../lib/gotoni").standardizedFileURL.path
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.sorted().map { ("\(folder)/\($0)", "lib/gotoni/\($0)") }
    }

    private static func pack(_ path: String, as place: String, into folder: String) async throws(CommandError) -> Item {
        let packed = "\(folder)/\(place.replacing("/", with: "-")).gz"
        let answer = try await Program(
            name: "sh", arguments: ["-c", #"gzip -1 -n -c "$1" >"$2" && sha256sum "$1""#, "sh", path, packed]
        )
        .run(limit: .seconds(120))
        guard answer.status == 0, let sha256 = answer.output.split(separator: " ").first else {
            throw CommandError("\(path) cannot be packed.", lines: answer.errors)
        }
        return Item(place: place, sha256: String(sha256), packed: packed)
    }
}
