import Foundation
import GotoniGateway
import NIOCore
import SwiftProtobuf

@testable import GotoniPicker

typealias Header = (name: String, value: String)

func headers(_ fields: [Header], ends: Bool) -> Envoy_Service_ExtProc_V3_HttpHeaders {
    .with { headers in
        headers.endOfStream = ends
        headers.headers.headers = fields.map { field in
            .with {
                $0.key = field.name
                $0.rawValue = Data(field.value.utf8)
            }
        }
    }
}

func body(_ text: String, ends: Bool) -> Envoy_Service_ExtProc_V3_HttpBody {
    .with {
        $0.body = Data(text.utf8)
        $0.endOfStream = ends
    }
}

/// What Envoy says, in its modes.
enum Say {
    static let post: [Header] = [
        (":method", "POST"), (":path", "/v1/chat/completions"), ("x-request-id", "r1"), ("authorization", "Bearer k"),
    ]

    static func request(
        _ fields: [Header] = post, ends: Bool = false, _ request: BodySendMode = .buffered,
        _ response: BodySendMode = .streamed
    ) -> ProcessingRequest {
        .with {
            $0.requestHeaders = headers(fields, ends: ends)
            $0.protocolConfig.requestBodyMode = request
            $0.protocolConfig.responseBodyMode = response
        }
    }
    static func requestBody(_ text: String, ends: Bool = true) -> ProcessingRequest {
        .with { $0.requestBody = body(text, ends: ends) }
    }
    static var requestTrailers: ProcessingRequest { .with { $0.requestTrailers = .init() } }

    static func answer(_ status: String = "200", ends: Bool = false, details: String? = nil) -> ProcessingRequest {
        .with { message in
            message.responseHeaders = headers([(":status", status)], ends: ends)
            if let details {
                let attributes = SwiftProtobufStruct.with {
                    $0.fields["response.code_details"] = .init(stringValue: details)
                }
                message.attributes["envoy.filters.http.ext_proc"] = (try? attributes.serializedBytes()) ?? Data()
            }
        }
    }
    static func answerBody(_ text: String, ends: Bool) -> ProcessingRequest {
        .with { $0.responseBody = body(text, ends: ends) }
    }
    static var answerTrailers: ProcessingRequest { .with { $0.responseTrailers = .init() } }
}

var go: PickVerdict { .go(to: "10.0.0.1:80", authorization: .keep, answerFields: [("x-request-id", "r1")]) }

func refusal(_ status: Int) -> PickVerdict {
    .refuse(status: status, fields: [("content-type", "application/json")], body: ByteBuffer(string: "{}"))
}

extension Conversation {
    init() { self.init(maxBodyBytes: 1 << 20) }

    /// A conversation that has got as far as its server.
    static func carried(_ response: BodySendMode = .streamed) throws -> Conversation {
        var its = Conversation()
        _ = try its.receive(Say.request(Say.post, .buffered, response))
        _ = try its.receive(Say.requestBody("{}"))
        _ = its.decided(go)
        return its
    }
}

extension Say {
    static func request(
        _ fields: [Header], _ request: BodySendMode, _ response: BodySendMode
    ) -> ProcessingRequest { self.request(fields, ends: false, request, response) }
}

extension [Conversation.Step] {
    /// What is sent.
    var sent: [ProcessingResponse] {
        compactMap { if case .send(let answer) = $0 { answer } else { nil } }
    }
    /// What is asked for or told.
    var others: [Conversation.Step] {
        filter { if case .send = $0 { false } else { true } }
    }
}
