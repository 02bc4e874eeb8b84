import Testing

@testable import GotoniGateway

@Suite struct ServerURLTests {
    struct Case: CustomTestStringConvertible {
        var text: String
        var host: String
        var port: Int
        var isSecure = false
        var prefix = ""
        var description: String
        var testDescription: String { text }
        init(
            _ text: String, _ host: String, _ port: Int, isSecure: Bool = false, prefix: String = "",
            _ description: String
        ) {
            (self.text, self.host, self.port, self.isSecure) = (text, host, port, isSecure)
            (self.prefix, self.description) = (prefix, description)
        }
    }

    static let good: [Case] = [
        Case("http://a", "a", 80, "http://a"),
        Case("http://a:80", "a", 80, "http://a"),
        Case("http://a:8080", "a", 8080, "http://a:8080"),
        Case("https://a", "a", 443, isSecure: true, "https://a"),
        Case("https://a:443", "a", 443, isSecure: true, "https://a"),
        Case("https://a:80", "a", 80, isSecure: true, "https://a:80"),
        Case("http://a:443", "a", 443, "http://a:443"),
        Case("a", "a", 80, "http://a"),
        Case("a:8080", "a", 8080, "http://a:8080"),
        Case("a:443", "a", 443, isSecure: true, "https://a"),
        Case("x.modal.host", "x.modal.host", 443, isSecure: true, "https://x.modal.host"),
        Case("x.MODAL.host:8443", "x.MODAL.host", 8443, isSecure: true, "https://x.MODAL.host:8443"),
        Case("http://x.modal.host", "x.modal.host", 80, "http://x.modal.host"),
        Case("10.0.0.1:65535", "10.0.0.1", 65_535, "http://10.0.0.1:65535"),
        Case("http://a/", "a", 80, "http://a"),
        Case("http://a//", "a", 80, "http://a"),
        Case("http://a/v/x/", "a", 80, prefix: "/v/x", "http://a/v/x"),
        Case("a:1/p", "a", 1, prefix: "/p", "http://a:1/p"),
        Case("[::1]:8080", "::1", 8080, "http://[::1]:8080"),
        Case("http://[fe80::1]", "fe80::1", 80, "http://[fe80::1]"),
        Case("https://[::1]/p", "::1", 443, isSecure: true, prefix: "/p", "https://[::1]/p"),
        Case("under_score-1.example", "under_score-1.example", 80, "http://under_score-1.example"),
    ]

    @Test(arguments: good) func isRead(_ test: Case) throws {
        let url = try #require(ServerURL(test.text))
        #expect(
            url.host == test.host && url.port == test.port && url.isSecure == test.isSecure && url.prefix == test.prefix
        )
        #expect("\(url)" == test.description)
        // What is shown means the same.
        #expect(ServerURL(url.description) == url)
    }

    @Test(arguments: [
        "", "http://", "https://", "/", "http:///p", "ftp://a", "://a", "http://a:0", "http://a:65536", "a:-1", "a:+80",
        "a: 80", "a:8o", "a:", "a:1:2", "::1", "[::1", "[::1]x", "[::1]:", "[::1]:0", "[1.2.3.4.5]", "[x]", "u@a",
        "u:p@a",
        "http://u:p@a/", "a b", "a\r\nb", "a\0", "é.example", "http://a?q", "http://a/?q=1", "http://a/p#f",
        "http://a/p q",
        "http://a/\"", "http://a/\r\nX: y", "http://a/é", "http://http://a", ".host:99999",
    ])
    func isRefused(_ text: String) { #expect(ServerURL(text) == nil) }

    @Test func lengths() {
        #expect(ServerURL(String(repeating: "a", count: 253)) != nil)
        #expect(ServerURL(String(repeating: "a", count: 254)) == nil)
    }

    @Test func defaultPort() {
        #expect(ServerURL("a", defaultPort: 8080)?.port == 8080)
        #expect(ServerURL("a:1", defaultPort: 8080)?.port == 1)
        #expect(ServerURL("http://a", defaultPort: 8080)?.port == 80)
        #expect(ServerURL("[::1]", defaultPort: 8080)?.port == 8080)
    }

    @Test(arguments: [
        ("127.0.0.1:8000", "127.0.0.1", 8000, true), (":8000", "0.0.0.0", 8000, false),
        ("localhost:0", "localhost", 0, true),
        ("[::1]:9", "::1", 9, true), ("[::]:9", "::", 9, false), ("0.0.0.0:65535", "0.0.0.0", 65_535, false),
        ("127.8.9.1:1", "127.8.9.1", 1, true), ("example.org:1", "example.org", 1, false),
    ])
    func addressesAreRead(_ text: String, _ host: String, _ port: Int, _ isLoopback: Bool) throws {
        let address = try #require(GatewayConfiguration.Address(text))
        #expect(address == .tcp(host: host, port: port) && address.isLoopback == isLoopback)
        #expect(GatewayConfiguration.Address(address.description) == address)
    }

    @Test func socketsAreRead() throws {
        let address = try #require(GatewayConfiguration.Address("unix:/run/a:1.sock"))
        #expect(address == .unix(path: "/run/a:1.sock") && address.isLoopback && address.port == nil)
        #expect(GatewayConfiguration.Address(address.description) == address)
        let longest = "unix:/" + String(repeating: "a", count: 106)
        #expect(GatewayConfiguration.Address(longest) != nil && GatewayConfiguration.Address(longest + "a") == nil)
    }

    @Test(arguments: [
        "", ":", "a", "a:", "a:-1", "a:65536", "::1:80", "a:b", ":x", ":-1", "1.2.3.4", "a:1 ", "[]:x", "unix:",
        "unix:a.sock", "unix:8000", "unix:/a\0b",
    ])
    func badAddresses(_ text: String) { #expect(GatewayConfiguration.Address(text) == nil) }

    /// Only this machine reaches 127.0.0.0/8; a name that merely starts so is somewhere else, and then a control listener
    /// without a token would be open.
    @Test func aNameThatStartsAs127IsNotLoopback() {
        #expect(GatewayConfiguration.Address(host: "127.evil.example", port: 1).isLoopback == false)
    }
}
