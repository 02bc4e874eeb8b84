import Foundation

/// Programs of this machine.
enum LocalProgram {
    /// The path of the program `name` in PATH. Nil: there is none.
    static func inPath(_ name: String) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(
            separator: ":")
        return folders.map { "\($0)/\(name)" }.first(where: FileManager.default.isExecutableFile)
    }

    /// The path of one of gotoni's own programs: beside the running one, or in PATH.
    static func own(_ name: String) throws(CommandError) -> String {
        guard let path = Files.beside(name) ?? inPath(name) else {
            throw CommandError("There is no \(name) beside gotoni or in PATH; make install installs it.")
        }
        return path
    }

    /// This process becomes the program at `path`: its number, its terminal and who waits for it stay.
    static func become(_ path: String, _ arguments: [String]) throws(CommandError) -> Never {
        let words = ([path] + arguments).map { strdup($0) }
        execv(path, words + [nil])
        throw CommandError("\(path) cannot be run: \(String(cString: strerror(errno))).")
    }
}
