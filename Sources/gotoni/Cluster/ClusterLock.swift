import Foundation

/// Commands that change a cluster come one after the other, from however many terminals: two at once would give its
/// machines different keys.
struct ClusterLock: Sendable {
    private let file: Int32

    /// Waits for whoever changes the cluster now.
    init(_ name: String) async throws(CommandError) {
        try ClusterName.check(name)
        try Files.makeFolder(Cluster.folder)
        let path = "\(Cluster.folder)/\(name).lock"
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else {
            throw CommandError("\(path) cannot be opened: \(String(cString: strerror(errno))).")
        }
        var isSaid = false
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                let reason = String(cString: strerror(errno))
                close(file)
                throw CommandError("\(path) cannot be locked: \(reason).")
            }
            if !isSaid { Progress.say("Another gotoni changes the cluster \(name); this one goes on after it.") }
            isSaid = true
            try? await Task.sleep(for: .milliseconds(200))
        }
    }

    func release() { close(file) }
}
