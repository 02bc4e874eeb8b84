import GotoniGateway
import NIOCore
import NIOHTTP2

/// The streams of one connection, each of them a `ProcessStream`: frames in, frames out. NIOHTTP2's multiplexer makes a channel
/// with a pipeline for every stream; a stream here lives for one request, and its frames need neither.
final class ProcessStreams: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame
    typealias OutboundOut = HTTP2Frame

    private let connection: PickConnection
    private let windows: Windows
    /// No more than the connection's SETTINGS allow.
    private var streams: [HTTP2StreamID: ProcessStream] = [:]
    /// Those that have read something in this turn.
    private var reading: [ProcessStream] = []
    private var context: ChannelHandlerContext?

    /// What the peer may send before it is read, in bytes.
    struct Windows {
        var connection: Int
        var stream: Int
    }

    init(_ connection: PickConnection, windows: Windows) { (self.connection, self.windows) = (connection, windows) }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { endAll() }

    func channelInactive(context: ChannelHandlerContext) {
        endAll()
        context.fireChannelInactive()
    }

    /// A stream's error ends it by an event, and harms no other. The peer has been told; if it has no stream it is no Envoy.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if streams.isEmpty { context.close(promise: nil) }
    }

    private func endAll() {
        context = nil
        let all = streams.values
        streams = [:]
        for stream in all { stream.gone() }
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.payload {
        case .headers(let headers):
            let stream = streams[frame.streamID] ?? ProcessStream(frame.streamID, of: self, connection)
            streams[frame.streamID] = stream
            begin(stream)
            stream.read(headers)
        case .data(let data):
            guard let stream = streams[frame.streamID] else { return }
            begin(stream)
            stream.read(data)
        default: return
        }
    }

    private func begin(_ stream: ProcessStream) {
        guard !stream.isReading else { return }
        stream.isReading = true
        reading.append(stream)
    }

    /// What comes together is answered together: in one write. What Envoy does not wait for is done after it.
    func channelReadComplete(context: ChannelHandlerContext) {
        let read = reading
        reading = []
        for stream in read {
            stream.isReading = false
            stream.writeAnswers()
        }
        context.flush()
        for stream in read { stream.catchUp() }
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case let event as StreamClosedEvent: streams.removeValue(forKey: event.streamID)?.gone()
        case let event as NIOHTTP2WindowUpdatedEvent: refill(event, context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    /// Once half of a window is used up. It goes out with the answers of this turn.
    private func refill(_ event: NIOHTTP2WindowUpdatedEvent, _ context: ChannelHandlerContext) {
        let whole = event.streamID == .rootStream ? windows.connection : windows.stream
        guard let size = event.inboundWindowSize, size <= whole / 2 else { return }
        let update = HTTP2Frame(streamID: event.streamID, payload: .windowUpdate(windowSizeIncrement: whole - size))
        context.write(wrapOutboundOut(update), promise: nil)
    }

    // MARK: Out

    /// A frame of a stream, with the next `flush`.
    func write(_ payload: HTTP2Frame.FramePayload, on stream: HTTP2StreamID) {
        context?.write(wrapOutboundOut(HTTP2Frame(streamID: stream, payload: payload)), promise: nil)
    }

    func flush() { context?.flush() }
}
