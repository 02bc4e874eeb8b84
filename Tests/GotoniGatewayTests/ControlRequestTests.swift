import GotoniCore
import NIOCore
import NIOHTTP1
import Testing

@testable import GotoniGateway

@Suite struct ControlRequestTests {
    private func query(_ target: String) -> [String: String] {
        ControlRequest(method: "GET", target: target, body: ByteBuffer()).query
    }

    @Test(arguments: [
        ("/p", [:]), ("/p?", [:]), ("/p?a=b", ["a": "b"]), ("/p?a=b&c=d", ["a": "b", "c": "d"]), ("/p?a", ["a": ""]),
        ("/p?a=", ["a": ""]), ("/p?=b", ["": "b"]), ("/p?a=b=c", ["a": "b=c"]), ("/p?a=b?c", ["a": "b?c"]),
        ("/p?a=x+y", ["a": "x y"]), ("/p?a=%78%2B%3d", ["a": "x+="]), ("/p?%61=b", ["a": "b"]),
        ("/p?a=%C3%A9", ["a": "é"]),
        ("/p?&&a=b&", ["a": "b"]), ("/p?a=1&a=2", ["a": "2"]),
        // What cannot be decoded is empty, or not there.
        ("/p?a=%", ["a": ""]), ("/p?a=%4", ["a": ""]), ("/p?a=%zz", ["a": ""]), ("/p?a=%FF", ["a": ""]),
        ("/p?%FF=b&c=d", ["c": "d"]),
        ("/p?a=%00", ["a": "\0"]),
    ])
    func queries(_ target: String, _ wanted: [String: String]) {
        #expect(query(target) == wanted)
        #expect(ControlRequest(method: "GET", target: target, body: ByteBuffer()).path == "/p")
    }

    /// A sign is no hexadecimal digit.
    @Test(arguments: ["%+1", "%-0"]) func signsAreNotHexadecimalDigits(_ text: String) {
        #expect(query("/p?a=\(text)") == ["a": ""])
    }

    @Test func thePathIsNotDecoded() {
        #expect(
            ControlRequest(method: "GET", target: "/%70roxy/status?x", body: ByteBuffer()).path == "/%70roxy/status")
    }

    @Test(arguments: [
        ("/health", true), ("/health?x", true), ("/metrics", true), ("/dashboard", true), ("/proxy", true),
        ("/proxy/", true),
        ("/proxy/x", true), ("/proxy/../v1/models", true), ("/proxy?x", true), ("/proxyx", false), ("/healthx", false),
        ("/health/", false),
        ("/v1/models", false), ("/v1/../proxy/status", false), ("/%70roxy/status", false), ("//proxy/status", false),
        ("/Proxy/status", false),
        ("/", false), ("*", false), ("", false), ("/metrics/x", false),
    ])
    func owned(_ path: String, _ owns: Bool) { #expect(ControlRoutes.owns(Substring(path)) == owns) }

    @Test(
        arguments: [
            ("/", "/"), ("/a?b#c", "/a?b#c"), ("*", "*"), ("http://h/a?b", "/a?b"), ("HTTP://H/A", "/A"),
            ("https://h", "/"),
            ("http://u@h:1/a", "/a"), ("http:///a", "/a"), ("", nil), ("a", nil), ("ftp://h/a", nil), ("h:80", nil),
            ("?a", nil),
        ] as [(String, String?)])
    func targets(_ target: String, _ path: String?) { #expect(RequestRules.path(target).map(String.init) == path) }

    /// A slash in the query is not the beginning of the path.
    @Test func aQueryWithoutAPathIsNoPath() {
        #expect(RequestRules.path("http://h?x=/proxy/status").map(String.init) != "/proxy/status")
    }

    private func problem(_ fields: [(String, String)], _ method: HTTPMethod = .POST, _ version: HTTPVersion = .http1_1)
        -> Int?
    {
        do throws(Problem) {
            _ = try RequestRules.read(
                HTTPRequestHead(version: version, method: method, uri: "/", headers: HTTPHeaders(fields)),
                maxBodyBytes: 100)
            return nil
        } catch {
            #expect(error.closes)
            return error.status
        }
    }

    @Test func rules() {
        let host = [("Host", "a")]
        #expect(problem(host) == nil)
        #expect(problem([], .GET, .http1_0) == nil)
        #expect(problem([]) == 400)
        #expect(problem(host + host) == 400)
        #expect(problem(host + host, .GET, .http1_0) == 400)
        #expect(problem(host, .GET, .http2) == 505)
        #expect(problem(host, .GET, HTTPVersion(major: 1, minor: 2)) == 505)
        #expect(problem(host, .CONNECT) == 501)
        #expect(problem(host, .TRACE) == 501)
        #expect(problem(host + [("Content-Length", "100")]) == nil)
        #expect(problem(host + [("Content-Length", "101")]) == 413)
        #expect(problem(host + [("Content-Length", "99999999999999999999")]) == 413)
        #expect(problem(host + [("Transfer-Encoding", "Chunked")]) == nil)
        #expect(problem(host + [("Transfer-Encoding", "gzip, chunked")]) == 501)
        #expect(problem(host + [("Transfer-Encoding", "xchunked")]) == 501)
    }

    /// CRLF, one Character, is white space as well.
    @Test(arguments: PolicyID.allCases) func policiesByName(_ policy: PolicyID) throws {
        let name = "\(policy.name)"
        let underscored = String(name.map { $0 == "-" ? "_" : $0 })
        for text in [name, name.uppercased(), " \n\(name)\t\r\n", underscored] {
            #expect(try PolicyName.policy(text) == policy)
        }
        #expect(ControlRoutes.policies.contains(name))
    }

    @Test(arguments: [
        ("least-load", PolicyID.leastLoad), ("leastload", .leastLoad), ("least_load", .leastLoad),
        ("least-loaded", .leastLoad),
        ("prefix-tree", .prefixTree), ("prefixtree", .prefixTree), ("prefix_tree", .prefixTree),
        ("prefix", .prefixTree), ("gorgo", .gorgo),
    ])
    func namesOfTheOriginal(_ name: String, _ policy: PolicyID) throws {
        #expect(try PolicyName.policy(name) == policy)
    }

    @Test(arguments: ["", " ", "gorg", "gorgo2", "leastest", "prefix tree", "\0", "gorgo\0"]) func unknownPolicies(
        _ name: String
    ) {
        #expect(throws: GatewayError.self) { try PolicyName.policy(name) }
    }
}
