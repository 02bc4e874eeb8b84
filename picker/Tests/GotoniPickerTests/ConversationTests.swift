import Foundation
import GotoniGateway
import SwiftProtobuf
import Testing

@testable import GotoniPicker

@Suite struct ConversationTests {
    // MARK: Requests

    @Test func aBufferedRequestIsAskedForItsBodyAndSentToItsServer() throws {
        var its = Conversation()
        let first = try its.receive(Say.request())
        #expect(first == [.send(.with { $0.requestHeaders = .init() })])
        let second = try its.receive(Say.requestBody("{}"))
        let head = Conversation.Head(
            method: "POST", target: "/v1/chat/completions", requestID: "r1", authorization: "Bearer k")
        #expect(second == [.pick(head, body: Data("{}".utf8))])
        let answers = its.decided(go).sent
        #expect(answers.count == 1)
        let common = try #require(answers.first).requestBody.response
        #expect(common.clearRouteCache_p)
        let field = try #require(common.headerMutation.setHeaders.first)
        #expect(common.headerMutation.setHeaders.count == 1 && common.headerMutation.removeHeaders.isEmpty)
        #expect(
            field.header.key == "x-gateway-destination-endpoint" && field.header.rawValue == Data("10.0.0.1:80".utf8))
        // Whatever the client had sent there.
        #expect(field.appendAction == .overwriteIfExistsOrAdd)
        let metadata = answers.first?.dynamicMetadata.fields["envoy.lb"]?.structValue
        #expect(metadata?.fields["x-gateway-destination-endpoint"]?.stringValue == "10.0.0.1:80")
    }

    @Test func aRequestWithoutBodyIsPickedAtOnce() throws {
        for mode in [BodySendMode.none, .buffered, .fullDuplexStreamed] {
            var its = Conversation()
            let steps = try its.receive(
                Say.request([(":method", "GET"), (":path", "/v1/models")], ends: true, mode))
            #expect(
                steps == [
                    .pick(.init(method: "GET", target: "/v1/models", requestID: nil, authorization: nil), body: Data())
                ])
            let answers = its.decided(go).sent
            #expect(answers.count == 1 && answers.first?.requestHeaders.response.clearRouteCache_p == true)
        }
    }

    @Test func aDuplexBodyIsGivenBackWhole() throws {
        let text = String(repeating: "0123456789", count: 20_000)
        for hasTrailers in [false, true] {
            var its = Conversation()
            #expect(try its.receive(Say.request(Say.post, .fullDuplexStreamed, .streamed)) == [])
            #expect(try its.receive(Say.requestBody(String(text.prefix(70_000)), ends: false)) == [])
            var steps = try its.receive(Say.requestBody(String(text.dropFirst(70_000)), ends: !hasTrailers))
            if hasTrailers {
                #expect(steps == [])
                steps = try its.receive(Say.requestTrailers)
            }
            guard case .pick(_, let body)? = steps.first else {
                Issue.record("no pick: \(steps)")
                continue
            }
            #expect(body == Data(text.utf8))
            var answers = its.decided(go).sent
            #expect(answers.removeFirst().requestHeaders.response.clearRouteCache_p)
            if hasTrailers { #expect(answers.removeLast().requestTrailers == .init()) }
            let parts = answers.map(\.requestBody.response.bodyMutation.streamedResponse)
            #expect(parts.reduce(Data()) { $0 + $1.body } == body)
            #expect(parts.map(\.endOfStream) == parts.indices.map { $0 == parts.count - 1 && !hasTrailers })
        }
    }

    @Test func aBodyTooLargeIsNotCollectedFurther() throws {
        var its = Conversation(maxBodyBytes: 100)
        _ = try its.receive(Say.request(Say.post, .fullDuplexStreamed, .streamed))
        #expect(try its.receive(Say.requestBody(String(repeating: "a", count: 100), ends: false)) == [])
        let steps = try its.receive(Say.requestBody("a", ends: false))
        #expect(steps.count == 1 && its.decided(refusal(413)).sent.first?.immediateResponse.status.code == 413)
        // What is on its way still.
        #expect(try its.receive(Say.requestBody("a", ends: true)) == [])
        #expect(its.ended() == [])
    }

    @Test func aRefusalIsAnsweredAtOnceAndIsTheEnd() throws {
        var its = Conversation()
        _ = try its.receive(Say.request())
        _ = try its.receive(Say.requestBody("{"))
        let answer = try #require(its.decided(refusal(400)).sent.first).immediateResponse
        #expect(answer.status.code == 400 && answer.body == Data("{}".utf8))
        #expect(answer.headers.setHeaders.map(\.header.key) == ["content-type"])
        // Envoy may show its own answer; nobody is told of it.
        #expect(try its.receive(Say.answer("400")).others == [])
        #expect(its.ended() == [])
    }

    @Test func keysAreReplacedOrRemoved() throws {
        let replaced = CommonResponse(to: "a:1", authorization: .replace("Bearer x")).headerMutation
        #expect(replaced.setHeaders.map(\.header.key) == ["x-gateway-destination-endpoint", "authorization"])
        #expect(replaced.setHeaders.last?.header.rawValue == Data("Bearer x".utf8))
        #expect(CommonResponse(to: "a:1", authorization: .remove).headerMutation.removeHeaders == ["authorization"])
    }

    // MARK: Answers

    @Test func anAnswerIsReadAsItPasses() throws {
        var its = try Conversation.carried()
        let head = try its.receive(Say.answer())
        #expect(head.others == [.answerBegan(status: 200, hasContent: false)] && head.sent.count == 1)
        let fields = head.sent.first?.responseHeaders.response.headerMutation.setHeaders.map(\.header)
        #expect(fields?.map(\.key) == ["x-request-id"] && fields?.first?.rawValue == Data("r1".utf8))
        let part = try its.receive(Say.answerBody("one", ends: false))
        // It goes on before we look at it.
        #expect(part == [.send(.with { $0.responseBody = .init() }), .feed(Data("one".utf8), isLast: false)])
        let last = try its.receive(Say.answerBody("", ends: true))
        #expect(last.others == [.feed(Data(), isLast: true), .finish])
        #expect(its.ended() == [])
    }

    @Test func partsOfADuplexAnswerAreGivenBack() throws {
        var its = try Conversation.carried(.fullDuplexStreamed)
        _ = try its.receive(Say.answer())
        let part = try its.receive(Say.answerBody("one", ends: true)).sent.first?.responseBody.response
        #expect(part?.bodyMutation.streamedResponse.body == Data("one".utf8))
        #expect(part?.bodyMutation.streamedResponse.endOfStream == true)
    }

    @Test func anAnswerThatIsNotShownEndsWithTheStream() throws {
        var its = try Conversation.carried(.none)
        #expect(try its.receive(Say.answer()).others == [.answerBegan(status: 200, hasContent: true)])
        #expect(its.ended() == [.finish])
    }

    @Test func trailersOrAHeadAloneEndAnAnswer() throws {
        var its = try Conversation.carried()
        _ = try its.receive(Say.answer())
        let trailers = try its.receive(Say.answerTrailers)
        #expect(trailers.others == [.finish] && trailers.sent == [.with { $0.responseTrailers = .init() }])
        its = try Conversation.carried()
        #expect(
            try its.receive(Say.answer("204", ends: true)).others == [
                .answerBegan(status: 204, hasContent: false), .finish,
            ])
        #expect(its.ended() == [])
    }

    @Test func aStreamThatEndsTooSoonIsACancelledRequest() throws {
        var its = Conversation()
        #expect(its.ended() == [.cancel])
        its = Conversation()
        _ = try its.receive(Say.request())
        #expect(its.ended() == [.cancel])
        its = try Conversation.carried()
        #expect(its.ended() == [.cancel])
        its = try Conversation.carried()
        _ = try its.receive(Say.answer())
        _ = try its.receive(Say.answerBody("one", ends: false))
        #expect(its.ended() == [.cancel])
        #expect(its.ended() == [])
    }

    @Test func anEnvoyThatAnswersForItselfEndsTheWait() throws {
        var its = Conversation()
        _ = try its.receive(Say.request())
        _ = try its.receive(Say.requestBody("{}"))
        #expect(try its.receive(Say.answer("408")).others == [.cancel])
        // Decided too late.
        #expect(its.decided(go) == [])
    }

    @Test(arguments: [
        (
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}",
            CarrierFailure.refused
        ),
        ("upstream_reset_before_response_started{connection_timeout}", .timeout),
        ("upstream_reset_before_response_started{connection_termination}", .closed),
        ("upstream_response_timeout", .timeout), ("upstream_per_try_timeout", .timeout),
        ("via_upstream", nil), ("direct_response", nil), ("", nil),
    ])
    func whoseFaultAnErrorIs(_ details: String, _ expected: CarrierFailure?) throws {
        var its = try Conversation.carried()
        let told = try its.receive(Say.answer("503", details: details)).others
        #expect(told == [expected.map { .failed($0) } ?? .answerBegan(status: 503, hasContent: false)])
    }

    // MARK: Errors

    @Test(arguments: [BodySendMode.none, .streamed, .bufferedPartial, .grpc, .UNRECOGNIZED(9)])
    func otherModesOfRequestBodiesAreErrors(_ mode: BodySendMode) {
        var its = Conversation()
        #expect(throws: ConversationError.requestMode) { try its.receive(Say.request(Say.post, mode, .none)) }
    }

    @Test(arguments: [BodySendMode.grpc, .UNRECOGNIZED(9)])
    func otherModesOfAnswersAreErrors(_ mode: BodySendMode) {
        var its = Conversation()
        #expect(throws: ConversationError.responseMode) { try its.receive(Say.request(Say.post, .buffered, mode)) }
    }

    @Test func whatIsNoHeadIsAnError() throws {
        for fields in [[], [(":method", "GET")], [(":path", "/")]] as [[Header]] {
            var its = Conversation()
            #expect(throws: ConversationError.head) { try its.receive(Say.request(fields)) }
        }
        for status in ["", "two", "99", "1000"] {
            var its = try Conversation.carried()
            #expect(throws: ConversationError.head) { try its.receive(Say.answer(status)) }
        }
    }

    @Test func messagesOutOfOrderAreErrors() throws {
        for message in [Say.requestBody("{}"), Say.answer(), Say.answerBody("", ends: true), Say.answerTrailers] {
            var its = Conversation()
            #expect(throws: ConversationError.order) { try its.receive(message) }
        }
        var its = try Conversation.carried()
        for message in [Say.request(), Say.requestBody("{}"), Say.answerBody("", ends: true), Say.answerTrailers] {
            #expect(throws: ConversationError.order) { try its.receive(message) }
        }
    }

    @Test func observabilityIsAnErrorAndSoIsNothing() {
        var its = Conversation()
        var message = Say.request()
        message.observabilityMode = true
        #expect(throws: ConversationError.observability) { try its.receive(message) }
        #expect(throws: ConversationError.empty) { try its.receive(ProcessingRequest()) }
    }

    /// Whatever comes in whatever order: at most one pick, at most one ending, and none without a pick.
    @Test func anyMessagesInAnyOrderEndOnce() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var chance = Chance(seed)
        for _ in 0..<20_000 {
            var its = Conversation(maxBodyBytes: 20)
            var (picks, ends) = (0, 0)
            var waits = false
            func count(_ steps: [Conversation.Step]) {
                for step in steps {
                    switch step {
                    case .pick:
                        picks += 1
                        waits = true
                    case .finish, .cancel, .failed: ends += 1
                    case .send, .answerBegan, .feed: continue
                    }
                }
            }
            do {
                for _ in 0..<chance.next(below: 10) {
                    if waits, chance.next(below: 2) == 0 {
                        waits = false
                        let refuses = chance.next(below: 4) == 0
                        let steps = its.decided(refuses ? refusal(503) : go)
                        // Too late is too late.
                        if refuses, !steps.isEmpty { ends += 1 }
                        count(steps)
                    } else {
                        count(try its.receive(Self.anything(&chance)))
                    }
                }
            } catch {}
            count(its.ended())
            #expect(picks <= 1 && ends == 1)
            #expect(its.ended().isEmpty)
        }
    }

    private static func anything(_ chance: inout Chance) -> ProcessingRequest {
        let ends = chance.next(below: 2) == 0
        switch chance.next(below: 10) {
        case 0...2:
            let mode = chance.next(below: 2) == 0 ? BodySendMode.buffered : .fullDuplexStreamed
            let answers: [BodySendMode] = [.none, .streamed, .buffered, .fullDuplexStreamed]
            return Say.request(Say.post, ends: chance.next(below: 8) == 0, mode, answers[chance.next(below: 4)])
        case 3...4: return Say.requestBody(String(repeating: "a", count: chance.next(below: 30)), ends: ends)
        case 5: return Say.requestTrailers
        case 6...7: return Say.answer(chance.next(below: 2) == 0 ? "200" : "503", ends: ends)
        case 8: return Say.answerBody("a", ends: ends)
        default: return Say.answerTrailers
        }
    }
}

/// SplitMix64.
struct Chance {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next(below bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ mixed >> 31) % UInt64(bound))
    }
}
