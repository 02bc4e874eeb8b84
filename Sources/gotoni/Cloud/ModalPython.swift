import Foundation

/// The Python in which Modal's SDK is found.
enum ModalPython {
    static let need = "Modal needs uv, or Python 3.10 with its SDK: pip install \"modal>=1.5,<2\"."
    static let advice = "--modal-python, or GOTONI_MODAL_PYTHON, names a Python that has it."

    /// `given`: one that somebody has named. Nil: uv is to bring it.
    static func python(_ given: String?) -> String? {
        let set = ProcessInfo.processInfo.environment["GOTONI_MODAL_PYTHON"].flatMap { $0.isEmpty ? nil : $0 }
        if let named = given ?? set { return named }
        guard LocalProgram.inPath("uv") == nil else { return nil }
        return LocalProgram.inPath("modal").flatMap(interpreter) ?? "python3"
    }

    /// What starts the helper.
    static func words(_ given: String?) throws(CommandError) -> [String] {
        let script = try script()
        // uv reads in the script what has to be there, and gets it.
        return python(given).map { [$0, script] } ?? ["uv", "run", "--script", script]
    }

    /// That of the program `path`, if it is a Python.
    private static func interpreter(of path: String) -> String? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), text.hasPrefix("#!") else { return nil }
        let lines = text.split(separator: "\n", maxSplits: 2, omittingEmptySubsequences: false)
        // pip writes the second form where the path is too long for the first: '''exec' "PYTHON" "$0" "$@".
        let first = lines[0].dropFirst(2).split(separator: " ")
        let second =
            lines.count > 1 && lines[1].hasPrefix("'''exec' ") ? lines[1].split(separator: " ").dropFirst() : []
        let words = (second.first.map { [$0] } ?? first).map { $0.filter { $0 != "\"" } }
        let word = words.first?.hasSuffix("/env") == true ? words.dropFirst().first : words.first
        guard let word, word.split(separator: "/").last?.hasPrefix("python") == true else { return nil }
        return word
    }

    /// The helper as a file; only this user can read it, and change it.
    private static func script() throws(CommandError) -> String {
        let folder = Files.cache
        try Files.makeFolder(folder)
        let path = "\(folder)/modal_helper-\(Gotoni.number).py"
        let wanted = Data(PackageResources.modal_helper_py)
        guard FileManager.default.contents(atPath: path) != wanted else { return path }
        let new = "\(path).\(UUID().uuidString.prefix(8))"
        let isWritten = FileManager.default.createFile(
            atPath: new, contents: wanted, attributes: [.posixPermissions: 0o600])
        // Another gotoni may be reading the old one.
        guard isWritten, rename(new, path) == 0 else { throw CommandError("\(path) cannot be written.") }
        return path
    }
}
