import GotoniEngines
import Testing

@Suite struct EndpointTests {
    @Test func byPath() {
        #expect(Endpoint(path: "/v1/chat/completions") == .chat)
        #expect(Endpoint(path: "/v1/completions?a=1&b=?") == .completions)
        #expect(Endpoint(path: "x/v1/responses?".dropFirst()) == .responses)
        #expect(Endpoint(path: "/v1/embeddings") == .embeddings)
        #expect(Endpoint(path: "/generate") == .generate)
        for other in ["", "/", "/v1", "/v1/chat/completions/", "/v1/models", "generate", "/generat", "?/generate"] {
            #expect(Endpoint(path: other) == nil, "\(other)")
        }
        for endpoint in Endpoint.allCases { #expect(Endpoint(path: endpoint.path.description) == endpoint) }
    }
}
