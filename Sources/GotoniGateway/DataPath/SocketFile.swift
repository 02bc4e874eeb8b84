import Glibc
import NIOCore

/// A Unix socket's file, removed by who made it.
struct SocketFile: Sendable {
    private let path: String
    /// Which file it is; another may have been put in its place.
    private let (device, inode): (UInt, UInt)

    /// Connections that wait to be accepted.
    private static let backlog: Int32 = 1024

    /// A socket that is bound, and does not listen yet; it is the caller's to close. A file whose owner has ended is
    /// replaced. `mode`: the file's rights. Errors: there is something else, or somebody listens.
    static func bind(_ path: String, mode: UInt32) throws(GatewayError) -> (descriptor: Int32, file: SocketFile) {
        guard let address = try? SocketAddress(unixDomainSocketPath: path) else {
            throw GatewayError("\(path) is too long for a socket")
        }
        let descriptor = try open()
        do throws(GatewayError) {
            if !call(Glibc.bind, descriptor, address) {
                guard errno == EADDRINUSE else { throw failure("make", path) }
                try removeIfLeft(path, address)
                guard call(Glibc.bind, descriptor, address) else { throw failure("make", path) }
            }
            // Whatever the umask said. It does not listen yet, so nobody came before.
            guard chmod(path, mode) == 0 else { throw failure("set the rights of", path) }
            guard let status = status(path) else { throw failure("find", path) }
            return (descriptor, SocketFile(path: path, device: UInt(status.st_dev), inode: UInt(status.st_ino)))
        } catch {
            close(descriptor)
            throw error
        }
    }

    private init(path: String, device: UInt, inode: UInt) {
        (self.path, self.device, self.inode) = (path, device, inode)
    }

    /// Of a socket that listens with fewer: NIO does, where it has not bound it.
    static func lengthenBacklog(_ descriptor: Int32) { _ = listen(descriptor, backlog) }

    /// Unless it is another's by now.
    func remove() {
        guard let status = Self.status(path) else { return }
        if UInt(status.st_dev) == device, UInt(status.st_ino) == inode { unlink(path) }
    }

    // MARK: Files

    /// Left by a process that has ended: nobody accepts there.
    private static func removeIfLeft(_ path: String, _ address: SocketAddress) throws(GatewayError) {
        guard let status = status(path) else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw GatewayError("\(path) is there and is no socket") }
        let probe = try open()
        defer { close(probe) }
        // A full backlog is somebody's as well, and so is one that is not ours to ask.
        guard !call(Glibc.connect, probe, address), errno == ECONNREFUSED else {
            throw GatewayError("somebody listens on \(path)")
        }
        guard unlink(path) == 0 else { throw failure("remove", path) }
    }

    private static func open() throws(GatewayError) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { throw GatewayError("no socket: \(String(cString: strerror(errno)))") }
        return descriptor
    }

    private static func status(_ path: String) -> stat? {
        var status = stat()
        return lstat(path, &status) == 0 ? status : nil
    }

    /// True: it worked; otherwise errno says why.
    private static func call(
        _ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32, _ descriptor: Int32, _ address: SocketAddress
    ) -> Bool {
        address.withSockAddr { function(descriptor, $0, socklen_t($1)) == 0 }
    }

    private static func failure(_ what: String, _ path: String) -> GatewayError {
        GatewayError("cannot \(what) \(path): \(String(cString: strerror(errno)))")
    }
}
