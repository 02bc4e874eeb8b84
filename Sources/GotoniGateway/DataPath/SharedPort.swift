import Glibc
import NIOCore

/// Two processes listening at one port (SO_REUSEPORT), of which the older one is about to leave.
///
/// The kernel deals new connections to both, and what waits in a listener's backlog is reset when it closes. So the one
/// that leaves first has the kernel deal all new connections to the other one, empties its backlog, and only then closes.
/// The kernel numbers listeners of a port in the order in which they came, and the last takes the number of one that
/// leaves; if there is no second one it ignores us.
///
/// Errors do not matter: connections are dealt as before, then.
enum SharedPort {
    /// From now on, also beyond this listener's end, the second one gets the new connections.
    static func handOver(_ listener: any Channel) async { await attach(listener, [returnsOne]) }

    /// New connections are dealt to all, whatever one that left has said.
    static func join(_ listener: any Channel) async {
        guard let options = listener as? any SocketOptionProvider else { return }
        try? await options.unsafeSetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: 68) /* SO_DETACH_REUSEPORT_BPF */, value: Int32(0)
        ).get()
    }

    /// `struct sock_filter` of <linux/filter.h>.
    private struct Instruction {
        var code: UInt16
        var jumpIfTrue: UInt8 = 0
        var jumpIfFalse: UInt8 = 0
        var operand: UInt32
    }
    /// `struct sock_fprog`.
    private struct Program: @unchecked Sendable {
        var length: UInt16
        var first: UnsafeMutablePointer<Instruction>
    }
    /// BPF_RET | BPF_K: the number of the listener.
    private static var returnsOne: Instruction { Instruction(code: 0x06, operand: 1) }

    private static func attach(_ listener: any Channel, _ instructions: [Instruction]) async {
        guard let options = listener as? any SocketOptionProvider else { return }
        let copy = UnsafeMutableBufferPointer<Instruction>.allocate(capacity: instructions.count)
        _ = copy.initialize(from: instructions)
        defer { copy.deallocate() }
        guard let first = copy.baseAddress else { return }
        try? await options.unsafeSetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: 51) /* SO_ATTACH_REUSEPORT_CBPF */,
            value: Program(length: UInt16(instructions.count), first: first)
        ).get()
    }
}
