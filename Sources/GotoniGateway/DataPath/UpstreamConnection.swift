import GotoniCore
import NIOCore

/// Who uses a connection to a server for one request.
protocol UpstreamUser: AnyObject {
    /// Bytes of the answer.
    func upstreamRead(_ bytes: ByteBuffer)
    /// The connection ended; the answer may not have. `isClean`: the server ended it, and it was not broken off.
    func upstreamClosed(isClean: Bool)
}

/// A connection to a server, on one event loop. It carries one request at a time; between two it is idle in its pool.
final class UpstreamConnection: ChannelInboundHandler, Flushable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Until the connection ends, also when the server was removed meanwhile.
    let pool: UpstreamPool
    /// Who gets what comes; nil: idle.
    weak var user: (any UpstreamUser)?
    private(set) var context: ChannelHandlerContext?
    /// Requests it has carried. A server may close one that has served at any time.
    private(set) var served = 0
    private(set) var idleSince = Nanoseconds(0)
    private var pausesReading = false
    /// What was written has been handed to the socket, which may not have taken all of it if it was much.
    private var isFlushed = true
    private var sentMuch = false
    private var isBroken = false

    init(pool: UpstreamPool) { self.pool = pool }

    var isOpen: Bool { context != nil }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    /// Writes a request, which leaves with the next `flush`: head and body in one system call.
    func write(_ head: ByteBuffer, _ body: ByteBuffer) {
        guard let context else { return }
        if body.readableBytes == 0 {
            context.write(wrapOutboundOut(head), promise: nil)
        } else if body.readableBytes <= head.writableBytes {
            var both = head
            both.writeImmutableBuffer(body)
            context.write(wrapOutboundOut(both), promise: nil)
        } else {
            context.write(wrapOutboundOut(head), promise: nil)
            context.write(wrapOutboundOut(body), promise: nil)
        }
        served += 1
        isFlushed = false
        sentMuch = head.readableBytes + body.readableBytes > 1 << 14
    }

    func flush() {
        isFlushed = true
        context?.flush()
    }

    /// Stops or resumes reading: the client takes no more for now.
    func setReading(_ reads: Bool) {
        guard let context, reads == pausesReading else { return }
        pausesReading = !reads
        try? context.channel.syncOptions?.setOption(.autoRead, value: reads)
        if reads { context.read() }
    }

    /// The answer is complete and the server keeps the connection.
    func release(now: Nanoseconds) {
        guard let context else { return }
        user = nil
        idleSince = now
        setReading(true)
        // An answer that came before its request was sent: the next request would follow the unread rest.
        let unsent = sentMuch ? try? context.channel.syncOptions?.getOption(.bufferedWritableBytes) : 0
        if isFlushed, unsent == 0 { pool.giveBack(self) } else { close() }
    }

    /// Gives up whatever is under way: the server sees the connection end and aborts.
    func close() {
        user = nil
        context?.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let user else {
            // An idle server has nothing to say; whatever it is could be taken for the next answer.
            context.close(promise: nil)
            return
        }
        user.upstreamRead(unwrapInboundIn(data))
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        pool.forget(self)
        user?.upstreamClosed(isClean: !isBroken)
        user = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        isBroken = true
        context.close(promise: nil)
    }
}
