import Foundation

/// Files of this machine.
enum Files {
    /// The user's folder.
    static var home: String { ProcessInfo.processInfo.environment["HOME"] ?? NSHomeDirectory() }

    /// Where keys, settings and what is known of hosts lie.
    static var configuration: String {
        (ProcessInfo.processInfo.environment["XDG_CONFIG_HOME"] ?? home + "/.config") + "/gotoni"
    }

    /// Where lies what can be made again.
    static var cache: String {
        (ProcessInfo.processInfo.environment["XDG_CACHE_HOME"] ?? home + "/.cache") + "/gotoni"
    }

    /// For this user only, unless it is there already.
    static func makeFolder(_ path: String) throws(CommandError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw CommandError("\(path) cannot be made: \(error.localizedDescription)")
        }
    }

    /// A new folder for this user only. In /tmp, because names of sockets must be short.
    static func temporaryFolder() throws(CommandError) -> String {
        let path = "/tmp/gotoni-" + UUID().uuidString.prefix(8)
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        } catch {
            throw CommandError("\(path) cannot be made: \(error.localizedDescription)")
        }
        return path
    }

    /// All of it or nothing, for this user only.
    static func write(_ text: String, to path: String) throws(CommandError) {
        do {
            // Another gotoni may be writing the same file.
            let part = "\(path).\(getpid()).part"
            guard
                FileManager.default.createFile(
                    atPath: part, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
            else { throw CocoaError(.fileWriteUnknown) }
            guard rename(part, path) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        } catch {
            throw CommandError("\(path) cannot be written: \(error.localizedDescription)")
        }
    }

    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    static func size(_ path: String) -> Int {
        (try? FileManager.default.attributesOfItem(atPath: path))?[.size] as? Int ?? 0
    }

    /// `path` beside the running program, if it is there.
    static func beside(_ path: String) -> String? {
        guard let program = Bundle.main.executableURL?.resolvingSymlinksInPath() else { return nil }
        let found = program.deletingLastPathComponent().appending(path: path).standardizedFileURL.path
        return exists(found) ? found : nil
    }
}
