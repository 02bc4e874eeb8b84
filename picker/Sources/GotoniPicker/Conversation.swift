import Foundation
import GotoniGateway
import SwiftProtobuf

typealias SwiftProtobufStruct = Google_Protobuf_Struct

/// What Envoy says of one HTTP request, and what it is told: ext_proc as a state machine, without I/O.
///
///     head ─▶ body ─▶ deciding ─▶ carried ─▶ answering ─▶ over
///       └── no body ───▲   └── refused ──────────────────────▲
///
/// Request bodies come whole (BUFFERED), or in parts that go back to Envoy once it is decided where to
/// (FULL_DUPLEX_STREAMED, as the inference extension has it). Bodies of answers come in any mode, or not at all (NONE).
struct Conversation {
    /// What is to be done, in this order.
    enum Step: Equatable {
        case send(ProcessingResponse)
        /// Find a server, and tell `decided`.
        case pick(Head, body: Data)
        case answerBegan(status: Int, hasContent: Bool)
        /// Envoy got no answer there.
        case failed(CarrierFailure)
        case feed(Data, isLast: Bool)
        case finish
        /// It ended before its answer did.
        case cancel
    }

    struct Head: Equatable {
        var method: String
        /// Path and query.
        var target: String
        var requestID: String?
        var authorization: String?
    }

    private enum State: Equatable {
        case head
        case body(Head, Data)
        case deciding(body: Data?)
        case carried
        case answering
        case over
    }

    private var state = State.head
    private var requestMode = BodySendMode.buffered
    private var responseMode = BodySendMode.none
    private var hasRequestTrailers = false
    private var answerFields: [(name: String, value: String)] = []
    private let maxBodyBytes: Int

    /// A request's body of more bytes is not collected: it is picked with what has come, and so refused.
    init(maxBodyBytes: Int) { self.maxBodyBytes = maxBodyBytes }

    private var isDuplex: Bool { requestMode == .fullDuplexStreamed }

    // MARK: What Envoy says

    /// Errors: what no Envoy says that is configured for this.
    mutating func receive(_ message: ProcessingRequest) throws(ConversationError) -> [Step] {
        guard !message.observabilityMode else { throw .observability }
        switch message.request {
        case .requestHeaders(let headers): return try begin(headers, message)
        case .requestBody(let part): return try collect(part)
        case .requestTrailers: return try endRequest()
        case .responseHeaders(let headers): return try beginAnswer(headers, message)
        case .responseBody(let part): return try pass(part)
        case .responseTrailers: return try endAnswer()
        case nil: throw .empty
        }
    }

    /// Envoy says no more: the answer has ended, or the client left.
    mutating func ended() -> [Step] {
        defer { state = .over }
        switch state {
        // Where bodies are not shown nobody sees their end.
        case .answering where responseMode == .none: return [.finish]
        case .over: return []
        case .head, .body, .deciding, .carried, .answering: return [.cancel]
        }
    }

    // MARK: The request

    private mutating func begin(
        _ headers: Envoy_Service_ExtProc_V3_HttpHeaders, _ message: ProcessingRequest
    ) throws(ConversationError) -> [Step] {
        guard state == .head else { throw .order }
        if message.hasProtocolConfig {
            requestMode = message.protocolConfig.requestBodyMode
            responseMode = message.protocolConfig.responseBodyMode
        }
        guard let method = headers.headers.first(":method"), let target = headers.headers.first(":path") else {
            throw .head
        }
        let head = Head(
            method: method, target: target, requestID: headers.headers.first("x-request-id"),
            authorization: headers.headers.first("authorization"))
        if case .UNRECOGNIZED = responseMode { throw .responseMode }
        if responseMode == .grpc { throw .responseMode }
        if headers.endOfStream {
            state = .deciding(body: nil)
            return [.pick(head, body: Data())]
        }
        switch requestMode {
        case .buffered, .fullDuplexStreamed: break
        case .none, .streamed, .bufferedPartial, .grpc, .UNRECOGNIZED: throw .requestMode
        }
        state = .body(head, Data())
        return isDuplex ? [] : [.send(.with { $0.requestHeaders = .init() })]
    }

    private mutating func collect(
        _ part: Envoy_Service_ExtProc_V3_HttpBody
    ) throws(ConversationError) -> [Step] {
        switch state {
        case .body(let head, var body):
            state = .head  // so that the body is not copied
            body.append(part.body)
            if !isDuplex || part.endOfStream || body.count > maxBodyBytes {
                state = .deciding(body: body)
                return [.pick(head, body: body)]
            }
            state = .body(head, body)
            return []
        // What is still on its way when it has been refused.
        case .deciding where isDuplex, .over: return []
        case .head, .deciding, .carried, .answering: throw .order
        }
    }

    /// Trailers end a body.
    private mutating func endRequest() throws(ConversationError) -> [Step] {
        switch state {
        case .body(let head, let body):
            guard isDuplex else { throw .order }
            hasRequestTrailers = true
            state = .deciding(body: body)
            return [.pick(head, body: body)]
        case .carried: return [.send(.with { $0.requestTrailers = .init() })]
        case .over: return []
        case .head, .deciding, .answering: throw .order
        }
    }

    /// Of a pick that was asked for.
    mutating func decided(_ verdict: PickVerdict) -> [Step] {
        guard case .deciding(let body) = state else { return [] }
        switch verdict {
        case .refuse(let status, let fields, let content):
            state = .over
            return [.send(ProcessingResponse(status: status, fields: fields, body: content))]
        case .go(let destination, let authorization, let fields):
            state = .carried
            answerFields = fields
            let common = CommonResponse(to: destination, authorization: authorization)
            var answer = ProcessingResponse()
            if body == nil || isDuplex {
                answer.requestHeaders.response = common
            } else {
                answer.requestBody.response = common
            }
            answer.tell(destination)
            return [.send(answer)] + (body.map { isDuplex ? giveBack($0) : [] } ?? [])
        }
    }

    /// The body that Envoy has sent and not kept.
    private func giveBack(_ body: Data) -> [Step] {
        var steps: [Step] = []
        var rest = body[...]
        repeat {
            let part = rest.prefix(Self.mostBytes)
            rest = rest.dropFirst(Self.mostBytes)
            let isLast = rest.isEmpty && !hasRequestTrailers
            steps.append(
                .send(.with { $0.requestBody.response.bodyMutation.streamedResponse = Self.part(part, isLast) }))
        } while !rest.isEmpty
        if hasRequestTrailers { steps.append(.send(.with { $0.requestTrailers = .init() })) }
        return steps
    }

    /// Of one part, as large as Envoy's own.
    private static let mostBytes = 65_536

    private static func part(_ body: Data, _ isLast: Bool) -> Envoy_Service_ExtProc_V3_StreamedBodyResponse {
        .with {
            $0.body = body
            $0.endOfStream = isLast
        }
    }

    // MARK: The answer

    private mutating func beginAnswer(
        _ headers: Envoy_Service_ExtProc_V3_HttpHeaders, _ message: ProcessingRequest
    ) throws(ConversationError) -> [Step] {
        // Envoy may answer for itself, at any time.
        if state == .over { return [.send(.with { $0.responseHeaders = .init() })] }
        guard state != .answering, state != .head else { throw .order }
        guard let status = headers.headers.first(":status").flatMap({ Int($0) }), (100...999).contains(status) else {
            throw .head
        }
        let wasCarried = state == .carried
        state = .answering
        let go = Step.send(
            .with { answer in
                answer.responseHeaders = .init()
                for (name, value) in answerFields { answer.responseHeaders.response.headerMutation.set(name, value) }
            })
        guard wasCarried else {
            state = .over
            return [go, .cancel]
        }
        // Envoy's own answers for a server are 502 to 504.
        if status >= 500, let failure = message.codeDetails.flatMap({ CarrierFailure(details: $0) }) {
            state = .over
            return [go, .failed(failure)]
        }
        let began = Step.answerBegan(
            status: status, hasContent: responseMode == .none && !headers.endOfStream)
        guard headers.endOfStream else { return [go, began] }
        state = .over
        return [go, began, .finish]
    }

    private mutating func pass(_ part: Envoy_Service_ExtProc_V3_HttpBody) throws(ConversationError) -> [Step] {
        guard state == .answering || state == .over else { throw .order }
        var answer = ProcessingResponse()
        answer.responseBody = .init()
        if responseMode == .fullDuplexStreamed {
            answer.responseBody.response.bodyMutation.streamedResponse = Self.part(part.body, part.endOfStream)
        }
        guard state == .answering else { return [.send(answer)] }
        let feed = Step.feed(part.body, isLast: part.endOfStream)
        guard part.endOfStream else { return [.send(answer), feed] }
        state = .over
        return [.send(answer), feed, .finish]
    }

    private mutating func endAnswer() throws(ConversationError) -> [Step] {
        let go = Step.send(.with { $0.responseTrailers = .init() })
        switch state {
        case .answering:
            state = .over
            return [go, .finish]
        case .over: return [go]
        case .head, .body, .deciding, .carried: throw .order
        }
    }
}

/// Why a stream ends with an error: Envoy is configured for something else, or it is no Envoy.
enum ConversationError: Error, Equatable, CaseIterable {
    /// A message out of its order.
    case order
    /// A message that says nothing.
    case empty
    /// Headers without `:method`, `:path` or `:status`.
    case head
    case observability
    case requestMode
    case responseMode

    var status: GRPCStatus {
        switch self {
        case .order: .init(.invalidArgument, "this message was not to come now")
        case .empty: .init(.invalidArgument, "a message without a request")
        case .head: .init(.invalidArgument, "headers without :method, :path or :status")
        case .observability: .init(.failedPrecondition, "observability_mode must be off")
        case .requestMode:
            .init(.failedPrecondition, "request_body_mode must be BUFFERED or FULL_DUPLEX_STREAMED")
        case .responseMode: .init(.failedPrecondition, "response_body_mode must not be GRPC")
        }
    }
}

extension CarrierFailure {
    /// Of Envoy's response.code_details (source/common/http/headers and StreamInfo's ResponseCodeDetails): nil where the
    /// answer is a server's, or not about one.
    init?(details: String) {
        if details.hasPrefix("upstream_reset_before_response_started{") {
            if details.contains("connection_timeout") {
                self = .timeout
            } else {
                self = details.contains("connection_failure") ? .refused : .closed
            }
        } else if details.hasSuffix("upstream_response_timeout") || details.hasSuffix("upstream_per_try_timeout") {
            self = .timeout
        } else {
            return nil
        }
    }
}
