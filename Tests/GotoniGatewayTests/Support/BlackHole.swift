import Glibc
import NIOCore
import NIOPosix

/// A port whose connections stay half open: its queue is full and nobody accepts.
final class BlackHole {
    let port: Int
    private var sockets: [Int32] = []

    init() throws {
        func made() -> Int32 { socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0) }
        let listener = made()
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> UInt16 in
                guard bind(listener, address, length) == 0, listen(listener, 0) == 0,
                    getsockname(listener, address, &length) == 0
                else {
                    return 0
                }
                return UInt16(bigEndian: UnsafeRawPointer(address).load(as: sockaddr_in.self).sin_port)
            }
        }
        self.port = Int(port)
        sockets = [listener]
        for _ in 0..<4 {
            let filler = made()
            sockets.append(filler)
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = Glibc.connect(filler, $0, length) }
            }
        }
    }

    deinit { for socket in sockets { close(socket) } }
}
