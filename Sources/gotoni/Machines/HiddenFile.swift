import Foundation

/// A text as a file without a name: programs that we start can read it, and it is gone when we are, however we end.
final class HiddenFile: Sendable {
    private let file: Int32

    init(_ text: String) throws(CommandError) {
        let path = "\(try Files.temporaryFolder())/text"
        file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        let bytes = Array(text.utf8)
        let isWritten = file >= 0 && write(file, bytes, bytes.count) == bytes.count
        unlink(path)
        rmdir((path as NSString).deletingLastPathComponent)
        guard isWritten else {
            if file >= 0 { close(file) }
            throw CommandError("A file in /tmp cannot be written: \(String(cString: strerror(errno))).")
        }
    }

    deinit { close(file) }

    /// While this lives.
    var path: String { "/proc/\(getpid())/fd/\(file)" }
}
