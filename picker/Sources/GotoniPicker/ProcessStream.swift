import Foundation
import GotoniGateway
import NIOCore
import NIOHPACK
import NIOHTTP2
import SwiftProtobuf

/// One call of `ExternalProcessor.Process`, which is one HTTP request of Envoy's: HTTP/2 in, a conversation, a pick. On its
/// connection's event loop. However the stream ends, the pick does too.
final class ProcessStream {
    static let path = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
    /// What a message has beside a body.
    private static let mostHeaderBytes = 1 << 20

    private static let decoding: BinaryDecodingOptions = {
        var options = BinaryDecodingOptions()
        options.discardUnknownFields = true
        return options
    }()

    private let id: HTTP2StreamID
    private weak var streams: ProcessStreams?
    private let connection: PickConnection
    private var conversation: Conversation
    private var messages: GRPCMessages
    private var pick: Pick?
    private var hasAnswered = false
    /// Frames are being read: `ProcessStreams` has answers written when it has read them all.
    var isReading = false
    /// Answers that are not written yet.
    private var out: ByteBuffer?
    /// What is done once Envoy has its answers, for it waits for them.
    private var later: [Conversation.Step] = []
    /// Nothing more is written.
    private var isClosed = false

    init(_ id: HTTP2StreamID, of streams: ProcessStreams, _ connection: PickConnection) {
        (self.id, self.streams, self.connection) = (id, streams, connection)
        conversation = Conversation(maxBodyBytes: connection.maxBodyBytes)
        messages = GRPCMessages(maxBytes: connection.maxBodyBytes + Self.mostHeaderBytes)
    }

    /// The stream has ended, or its connection.
    func gone() {
        isClosed = true
        perform(conversation.ended())
        catchUp()
        pick = nil
    }

    // MARK: In

    func read(_ frame: HTTP2Frame.FramePayload.Headers) {
        guard !isClosed else { return }
        if let status = Self.refuses(frame.headers) {
            close(status)
        } else if frame.endStream {
            close(.ok)
        }
    }

    func read(_ frame: HTTP2Frame.FramePayload.Data) {
        guard !isClosed, case .byteBuffer(let bytes) = frame.data else { return }
        read(bytes)
        guard frame.endStream, !isClosed else { return }
        perform(conversation.ended())
        close(messages.isInside ? GRPCStatus(.invalidArgument, "the last message is cut off") : .ok)
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
                guard let message = try? ProcessingRequest(serializedBytes: bytes, options: Self.decoding) else {
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
        guard !isReading else { return }
        writeAnswers()
        streams?.flush()
        catchUp()
    }

    /// What Envoy does not wait for.
    func catchUp() {
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

    /// All in one frame. They go out with the connection's next flush.
    func writeAnswers() {
        guard let bytes = out else { return }
        out = nil
        guard !isClosed else { return }
        begin()
        streams?.write(.data(.init(data: .byteBuffer(bytes))), on: id)
    }

    private func begin() {
        guard !hasAnswered else { return }
        hasAnswered = true
        let fields = HPACKHeaders([(":status", "200"), ("content-type", "application/grpc")])
        streams?.write(.headers(.init(headers: fields)), on: id)
    }

    private func close(_ status: GRPCStatus) {
        guard !isClosed else { return }
        writeAnswers()
        isClosed = true
        begin()
        streams?.write(.headers(.init(headers: status.trailers, endStream: true)), on: id)
        if !isReading { streams?.flush() }
    }
}
