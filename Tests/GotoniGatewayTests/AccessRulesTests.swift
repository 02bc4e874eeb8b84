import GotoniCore
import NIOHTTP1
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct AccessRulesTests {
    private func head(_ fields: [(String, String)]) -> HTTPRequestHead {
        HTTPRequestHead(version: .http1_1, method: .GET, uri: "/", headers: HTTPHeaders(fields))
    }

    private func control(
        token: String? = nil, isLoopback: Bool = true, path: Substring = "/proxy/status", _ fields: [(String, String)]
    ) -> String? {
        AccessRules(apiKeys: [], adminToken: token, isLoopback: isLoopback)
            .refusesControl(head(fields), path: path, isAdminListener: false)?.code.description
    }

    @Test(arguments: [true, false]) func theTokenIsWanted(isLoopback: Bool) {
        for (value, code) in [
            ("Bearer secret", nil), ("bearer secret", nil), ("BEARER secret", nil), ("Bearer secre", "admin_token"),
            ("Bearer secret2", "admin_token"), ("Bearer Secret", "admin_token"), ("Bearer  secret", "admin_token"),
            ("Bearer ", "admin_token"), ("Bearer", "admin_token"), ("secret", "admin_token"),
            ("Basic secret", "admin_token"),
            ("", "admin_token"),
        ] as [(String, String?)] {
            #expect(
                control(token: "secret", isLoopback: isLoopback, [("Host", "evil.example"), ("Authorization", value)])
                    == code, "\(value)")
        }
        #expect(control(token: "secret", isLoopback: isLoopback, [("Host", "localhost")]) == "admin_token")
        // With the token the origin does not matter: a page does not know it.
        #expect(
            control(token: "secret", [("Host", "a"), ("Origin", "http://b"), ("Authorization", "Bearer secret")]) == nil
        )
    }

    @Test func withoutATokenOnlyOnLoopback() {
        #expect(control([("Host", "localhost:8000")]) == nil)
        #expect(control(isLoopback: false, [("Host", "localhost:8000")]) == "no_admin_token")
    }

    @Test(arguments: [
        ("localhost", true), ("localhost:8000", true), ("127.0.0.1", true), ("127.0.0.1:8000", true),
        ("127.1.2.3", true),
        ("[::1]", true), ("[::1]:8000", true), ("evil.example", false), ("localhost.evil.example", false),
        ("127.evil.example", false),
        ("127.0.0.1.evil.example:80", false), ("", false), ("10.0.0.1", false), ("[::2]", false), ("::1", false),
        ("0.0.0.0", false),
        ("localhost@evil.example", false),
    ])
    func hosts(_ host: String, _ isLocal: Bool) {
        #expect(control([("Host", host)]) == (isLocal ? nil : "host"))
    }

    @Test func origins() {
        #expect(control([("Host", "localhost:8000"), ("Origin", "http://localhost:8000")]) == nil)
        #expect(control([("Host", "localhost:8000"), ("Origin", "https://localhost:8000")]) == nil)
        for origin in [
            "http://evil.example", "null", "http://localhost:9000", "http://localhost", "", "file://",
            "http://localhost:8000.evil",
        ] {
            #expect(control([("Host", "localhost:8000"), ("Origin", origin)]) == "origin", "\(origin)")
        }
    }

    @Test func probesAndThePageAreOpen() {
        for path in ["/health", "/proxy/health", "/dashboard", "/health?x=1"] as [Substring] {
            #expect(control(token: "secret", path: path, []) == nil)
            #expect(control(isLoopback: false, path: path, []) == nil)
        }
        for path in ["/metrics", "/proxy/status", "/proxy", "/healthx", "/dashboard/", "/health/", "/proxy/health/x"]
            as [Substring]
        {
            #expect(control(token: "secret", path: path, []) == "admin_token", "\(path)")
        }
    }

    @Test func apiKeys() {
        func data(_ keys: [String], _ fields: [(String, String)]) -> Int? {
            AccessRules(apiKeys: keys, adminToken: nil, isLoopback: false).refusesData(head(fields))?.status
        }
        #expect(data([], []) == nil)
        #expect(data(["one", "two"], [("Authorization", "Bearer one")]) == nil)
        #expect(data(["one", "two"], [("Authorization", "Bearer two")]) == nil)
        #expect(data(["one", "two"], [("Authorization", "Bearer three")]) == 401)
        #expect(data(["one", "two"], [("Authorization", "Bearer ")]) == 401)
        #expect(data(["one", "two"], [("Authorization", "Basic one")]) == 401)
        #expect(data(["one", "two"], [("X-Api-Key", "one")]) == 401)
        #expect(data(["one"], []) == 401)
        // Not even an empty key is one that nobody need give.
        #expect(data([""], []) == 401)
    }

    @Test(arguments: Seeds.sequence(2000)) func equality(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        func text() -> String {
            String(
                (0..<random.pick(0...4)).map { _ in Character(["a", "b", "\0", "é", "\u{FF}"][random.pick(0...4)]) })
        }
        let (a, b) = (text(), random.chance(30) ? "" : text())
        #expect(AccessRules.equal(a, b) == Array(a.utf8).elementsEqual(Array(b.utf8)), "seed \(seed)")
        #expect(AccessRules.equal(a, a), "seed \(seed)")
        #expect(!AccessRules.equal(a, a + "\0"), "seed \(seed)")
    }
}
