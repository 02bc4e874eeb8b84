// Feeds GotoniGateway with hostile bytes. The first byte says which reader gets the rest; whatever they do with it, they
// must not crash, and what they say must be the same when it is said again, or from the same bytes cut elsewhere.
import GotoniCore
import NIOCore
import NIOHTTP1

@testable import GotoniGateway

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> Int32 {
    let input = UnsafeRawBufferPointer(start: data, count: size)
    guard let choice = input.first else { return 0 }
    let rest = UnsafeRawBufferPointer(rebasing: input.dropFirst())
    switch choice % 8 {
    case 0...3: answers(rest, toHEAD: choice >= 128)
    case 4: requests(rest)
    case 5: controls(rest)
    case 6: addresses(rest)
    default: texts(rest)
    }
    return 0
}

private func require(_ condition: Bool, _ what: StaticString = "the readers disagree") {
    if !condition { fatalError("\(what)") }
}

// MARK: Answers of servers

private struct Outcome: Equatable {
    var head: ByteBuffer?
    var framing: ResponseReader.Framing?
    var keepsConnection = false
    var payload: [UInt8] = []
    var consumed = 0
    var isComplete = false
    var endsWithConnection = false
    var error: ResponseError?
}

/// The first bytes say where the answer is cut.
private func answers(_ input: UnsafeRawBufferPointer, toHEAD: Bool) {
    guard input.count >= 8 else { return }
    let (cuts, answer) = (input.prefix(8), UnsafeRawBufferPointer(rebasing: input.dropFirst(8)))
    let whole = read(answer, toHEAD: toHEAD) { _ in .max }
    let parts = read(answer, toHEAD: toHEAD) { turn in
        Int(cuts[turn % 8]) * (turn % 8 == 7 ? 64 : 1) + (turn % 8 == 0 ? 1 : 0)
    }
    // Of a head that is too long, less may have been seen when it is refused.
    if whole.error == .headTooLong || parts.error == .headTooLong { return }
    require(whole.head == parts.head && whole.framing == parts.framing && whole.error == parts.error)
    require(whole.isComplete == parts.isComplete && whole.keepsConnection == parts.keepsConnection)
    if whole.error == nil { require(whole == parts) }
    if let head = whole.head {
        // What is passed on is lines of visible bytes, and none of them says how the body is framed but by its length.
        var lines = 0
        head.withUnsafeReadableBytes { bytes in
            require(bytes.count >= 2 && bytes.suffix(2).elementsEqual([13, 10]), "the end of the head")
            for (index, byte) in bytes.enumerated() where byte == 10 {
                require(index > 0 && bytes[index - 1] == 13, "a bare LF is passed on")
                lines += 1
            }
            for line in bytes.split(separator: 10) {
                require(
                    !UnsafeRawBufferPointer(rebasing: line).hasPrefix("transfer-encoding:"), "a coding is passed on")
            }
        }
        require(lines >= 1)
        if whole.framing == .untilClose { require(!whole.keepsConnection && !whole.isComplete) }
    }
}

private func read(_ answer: UnsafeRawBufferPointer, toHEAD: Bool, size: (Int) -> Int) -> Outcome {
    var reader = ResponseReader()
    var outcome = Outcome()
    var pending = ByteBuffer()
    var (start, turn) = (0, 0)
    do throws(ResponseError) {
        while start < answer.count {
            let count = min(answer.count - start, max(1, size(turn)))
            var piece = ByteBuffer(bytes: answer[start..<start + count])
            (start, turn) = (start + count, turn + 1)
            if outcome.head == nil {
                pending.writeBuffer(&piece)
                guard let head = try reader.head(from: &pending, toHEAD: toHEAD) else { continue }
                (outcome.head, outcome.framing, outcome.keepsConnection) = (head.fields, head.framing, head.keepAlive)
                require(head.status >= 200 && head.status <= 999)
                piece = pending
            }
            // In memory of exactly this size, so that the sanitizer sees a read beyond it.
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.readableBytes, alignment: 1)
            defer { copy.deallocate() }
            copy.copyBytes(from: piece.readableBytesView)
            let consumed = try reader.body(UnsafeRawBufferPointer(copy)) { outcome.payload += $0 }
            require(
                consumed == copy.count || consumed < copy.count && reader.isComplete, "bytes are left before the end")
            outcome.consumed += consumed
        }
    } catch {
        outcome.error = error
    }
    outcome.isComplete = reader.isComplete
    outcome.endsWithConnection = reader.endsWithConnection
    return outcome
}

// MARK: Requests of clients

/// Lines: the target, then fields. They become a head as the decoder would make it, and then one for a server.
private func requests(_ input: UnsafeRawBufferPointer) {
    var lines = input.split(separator: 10, maxSplits: 40, omittingEmptySubsequences: false).map { line in
        // The decoder lets no control character through.
        String(decoding: line.map { $0 < 0x20 || $0 == 0x7F ? 0x3F : $0 }, as: UTF8.self)
    }
    let target = lines.removeFirst()
    var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: target)
    for line in lines {
        let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[0].isEmpty, parts[0].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            continue
        }
        head.headers.add(name: parts[0], value: parts[1])
    }
    do throws(Problem) {
        let fields = try RequestRules.read(head, maxBodyBytes: 1000)
        require((0...1000).contains(fields.length ?? 0))
    } catch {
        require((400...505).contains(error.status) && error.closes)
    }
    let rules = AccessRules(apiKeys: ["key"], adminToken: nil, isLoopback: true)
    _ = rules.refusesData(head)
    guard let path = RequestRules.path(target) else { return }
    require(path.utf8.first == UInt8(ascii: "/") || path == "*", "a path that is none")
    let refusal = rules.refusesControl(head, path: path, isAdminListener: false)
    if refusal == nil, ControlRoutes.owns(path), let host = head.headers.first(name: "host") {
        let name = path.prefix { $0 != "?" }
        require(
            AccessRules.isLocalName(host) || ["/health", "/proxy/health", "/dashboard"].contains(name),
            "a foreign host may control")
    }
    guard let url = ServerURL("http://10.0.0.1:80/prefix") else { return require(false) }
    let bytes = UpstreamRequest.head(
        head, path: path, to: url, length: 7, requestID: "id", client: "1.2.3.4", authorization: .own("key"), reserve: 0
    )
    let written = String(buffer: bytes)
    require(written.hasSuffix("\r\n\r\n"))
    let fields = written.dropLast(4).split(separator: "\r\n", omittingEmptySubsequences: false).dropFirst()
    func count(_ name: String) -> Int { fields.count { $0.lowercased().hasPrefix(name + ":") } }
    require(
        count("host") == 1 && count("content-length") == 1 && count("transfer-encoding") == 0,
        "the framing of a request")
    require(
        count("connection") == 0 && count("authorization") == 1 && count("x-request-id") == 1
            && count("x-forwarded-for") == 1)
}

private func controls(_ input: UnsafeRawBufferPointer) {
    let target = String(decoding: input, as: UTF8.self)
    let request = ControlRequest(method: "GET", target: target, body: ByteBuffer())
    require(!request.path.contains("?") && target.hasPrefix(request.path))
    require(request.query.count <= target.count { $0 == "&" } + 1)
    if let policy = try? PolicyName.policy(target) { require((try? PolicyName.policy("\(policy.name)")) == policy) }
}

private func addresses(_ input: UnsafeRawBufferPointer) {
    let text = String(decoding: input, as: UTF8.self)
    if let url = ServerURL(text) {
        require(ServerURL(url.description) == url, "a URL is not what it says")
        require(!url.host.isEmpty && (1...65_535).contains(url.port) && !url.prefix.hasSuffix("/"))
        require(url.description.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "a URL that can break a head")
    }
    if let address = GatewayConfiguration.Address(text) {
        require(GatewayConfiguration.Address(address.description) == address, "an address is not what it says")
    }
}

private func texts(_ input: UnsafeRawBufferPointer) {
    let text = String(decoding: input, as: UTF8.self)
    let quoted = JSONText.quoted(text)
    require(quoted.utf8.allSatisfy { $0 >= 0x20 } && quoted.hasPrefix("\"") && quoted.hasSuffix("\""))
    require(AccessRules.equal(text, text) && !AccessRules.equal(text, text + "x"))
    var record = RequestRecord()
    record.requestID = text
    record.error = text
    let export = RequestExport(records: [record], fleet: Fleet())
    let csv = export.csv()
    require(csv.utf8.count { $0 == UInt8(ascii: "\"") } % 2 == 0, "a quote is left open")
    require((try? export.jsonLines())?.utf8.count { $0 == 10 } == 1, "a line more than records")
}
