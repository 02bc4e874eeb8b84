import Foundation
import GotoniGateway
import NIOCore
import NIOHPACK
import NIOHTTP2
import SwiftProtobuf

/// One call of `ExternalProcessor.Process`, which is one HTTP request of Envoy's: HTTP/2 in, a conversation, a pick. On its
/// connection's event loop. However the stream ends, the pick does too.
final class ProcessStream: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    static let path = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
    /// What a message has beside a body.
    private static let mostHeaderBytes = 1 << 20

    private let connection: PickConnection
    private var context: ChannelHandlerContext?
    private var conversation: Conversation
    private var messages: GRPCMessages
    private var pick: Pick?
    private var hasAnswered = false
    /// What comes together is answered together: in one frame.
    private var isReading = false
    /// Answers that are not written yet.
    private var out: ByteBuffer?
    /// What is done once Envoy has its answers, for it waits for them.
    private var later: [Conversation.Step] = []
    /// Nothing more is written.
    private var isClosed = false

    init(_ connection: PickConnection) {
        self.connection = connection
        conversation = Conversation(maxBodyBytes: connection.maxBodyBytes)
        messages = GRPCMessages(maxBytes: connection.maxBodyBytes + Self.mostHeaderBytes)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { gone() }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    /// Envoy resets every stream that it is done with, so errors are nothing to tell of.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func gone() {
        guard context != nil else { return }
        isClosed = true
        perform(conversation.ended())
        catchUp()
        pick = nil
        context = nil
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosed else { return }
        isReading = true
        switch unwrapInboundIn(data) {
        case .headers(let frame):
            guard let status = Self.refuses(frame.headers) else {
                if frame.endStream { close(.ok) }
                return
            }
            close(status)
        case .data(let frame):
            guard case .byteBuffer(let bytes) = frame.data else { return }
            read(bytes)
            guard frame.endStream, !isClosed else { return }
            perform(conversation.ended())
            close(messages.isInside ? GRPCStatus(.invalidArgument, "the last message is cut off") : .ok)
        default: return
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        settle()
        context.fireChannelReadComplete()
    }

    /// Nil: it is the one call there is.
    private static func refuses(_ headers: HPACKHeaders) -> GRPCStatus? {
        guard headers.first(name: ":method") == "POST", headers.first(name: ":path") == path,
            headers.first(name: "content-type")?.hasPrefix("application/grpc") == true
        else { return GRPCStatus(.unimplemented, "there is envoy.service.ext_proc.v3.ExternalProcessor/Process only") }
        return nil
    }

    private func read(_ bytes: ByteBuffer) {
        messages.add(bytes)
        do throws(GRPCStatus) {
            while !isClosed, let bytes = try messages.next() {
                guard let message = try? ProcessingRequest(serializedBytes: bytes) else {
                    throw GRPCStatus(.invalidArgument, "this is no ProcessingRequest")
                }
                let steps = Result { () throws(ConversationError) in try conversation.receive(message) }
                switch steps {
                case .success(let steps): perform(steps)
                case .failure(let error): throw error.status
                }
            }
        } catch {
            perform(conversation.ended())
            close(error)
        }
    }

    // MARK: What is to be done

    private func perform(_ steps: [Conversation.Step]) {
        for step in steps {
            switch step {
            case .send(let answer): write(answer)
            case .pick(let head, let body): pick(head, body)
            case .answerBegan, .failed, .feed, .finish, .cancel: later.append(step)
            }
        }
        if !isReading { settle() }
    }

    /// Answers first, then what they do not depend on.
    private func settle() {
        guard out != nil, let context else { return catchUp() }
        flush(context)
        // The connection writes when it has read all, and so before this.
        if !later.isEmpty { context.eventLoop.assumeIsolated().execute { self.catchUp() } }
    }

    private func catchUp() {
        let steps = later
        later = []
        for step in steps {
            switch step {
            case .send, .pick: continue  // done at once
            case .answerBegan(let status, let hasContent): pick?.answerBegan(status: status, hasContent: hasContent)
            case .failed(let failure): pick?.failed(failure)
            case .feed(let bytes, let isLast): bytes.withUnsafeBytes { pick?.feed($0, isLast: isLast) }
            case .finish: pick?.finish()
            case .cancel: pick?.cancel()
            }
        }
    }

    private func pick(_ head: Conversation.Head, _ body: Data) {
        let request = PickConnection.Request(
            method: head.method, target: head.target, requestID: head.requestID, authorization: head.authorization,
            body: ByteBuffer(bytes: body))
        pick = connection.pick(request) { [weak self] verdict in
            guard let self else { return }
            perform(conversation.decided(verdict))
        }
    }

    // MARK: Out

    private func write(_ answer: ProcessingResponse) {
        // It can fail for text that is not UTF-8 only, and Swift has none.
        guard let bytes: [UInt8] = try? answer.serializedBytes() else { return }
        var buffer = out ?? ByteBuffer()
        out = nil
        GRPCMessages.write(bytes, to: &buffer)
        out = buffer
    }

    private func flush(_ context: ChannelHandlerContext) {
        guard let bytes = out else { return }
        out = nil
        guard !isClosed else { return }
        begin(context)
        context.writeAndFlush(wrapOutboundOut(.data(.init(data: .byteBuffer(bytes)))), promise: nil)
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard !hasAnswered else { return }
        hasAnswered = true
        let fields = HPACKHeaders([(":status", "200"), ("content-type", "application/grpc")])
        context.write(wrapOutboundOut(.headers(.init(headers: fields))), promise: nil)
    }

    private func close(_ status: GRPCStatus) {
        guard let context, !isClosed else { return }
        flush(context)
        isClosed = true
        begin(context)
        context.writeAndFlush(wrapOutboundOut(.headers(.init(headers: status.trailers, endStream: true))), promise: nil)
    }
}
