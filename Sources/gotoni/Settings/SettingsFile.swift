import Foundation
import Yams

/// A file of settings: YAML with one value for each key.
enum SettingsFile {
    /// By key. Errors: it cannot be read, is no such YAML, has an unknown key or one without a value; with the file and the
    /// line.
    static func read(_ path: String) throws(CommandError) -> [String: String] {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandError("\(path) cannot be read.", exitCode: 2)
        }
        let document: Yams.Node?
        do {
            document = try Yams.compose(yaml: text)
        } catch {
            throw CommandError("\(path) is not YAML: \(error)", exitCode: 2)
        }
        // Empty, or comments only.
        guard let document, document.null == nil else { return [:] }
        guard let mapping = document.mapping else {
            throw CommandError("\(path): wanted are lines like region: us-east-1.", exitCode: 2)
        }
        var values: [String: String] = [:]
        for (name, value) in mapping {
            let line = "\(path)" + (name.mark.map { ", line \($0.line)" } ?? "")
            guard let known = name.scalar.flatMap({ SettingKey.named($0.string) }) else {
                let names = SettingKey.all.map(\.name).joined(separator: ", ")
                throw CommandError(
                    "\(line): there is no setting \"\(name.scalar?.string ?? "")\"; there are \(names).", exitCode: 2)
            }
            guard let text = value.scalar?.string, !text.isEmpty else {
                throw CommandError("\(line): \(known.name) wants one value.", exitCode: 2)
            }
            values[known.name] = known.isPath ? place(text, besides: path) : text
        }
        return values
    }

    /// Where a file is that `path` names.
    private static func place(_ name: String, besides path: String) -> String {
        if name.hasPrefix("~/") { return Files.home + name.dropFirst() }
        guard !name.hasPrefix("/"), let end = path.lastIndex(of: "/") else { return name }
        return path[...end] + name
    }

    /// A file to begin with: every key as a comment.
    static var example: String {
        let head = """
            # Settings of gotoni. A flag wins over the environment, that over ./gotoni.yaml, that over
            # ~/.config/gotoni/config.yaml. Secrets do not belong here.

            """
        return head
            + SettingKey.all.map {
                "\n# \($0.what) ($\($0.variable))\n#\($0.name):\($0.fallback.map { " \($0)" } ?? "")\n"
            }.joined()
    }

    /// For this user only. Errors: it is there already.
    static func make(_ path: String) throws(CommandError) {
        let file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0o600)
        guard file >= 0 else {
            let why = errno == EEXIST ? "is there already" : "cannot be made: \(String(cString: strerror(errno)))"
            throw CommandError("\(path) \(why).")
        }
        do {
            try FileHandle(fileDescriptor: file, closeOnDealloc: true).write(contentsOf: Data(example.utf8))
        } catch {
            throw CommandError("\(path) cannot be written: \(error.localizedDescription)")
        }
    }
}
