import Glibc
import NIOCore
import NIOPosix

/// What went wrong with one attempt to have a request served.
enum Failure: Equatable, Sendable {
    /// Nobody listens there.
    case connect
    /// No connection in time, or no way there.
    case connectTimeout
    /// We could not open one: out of descriptors, ports or memory.
    case shortage
    /// The connection ended, or spoke no HTTP, before an answer began.
    case closedEarly
    /// As `closedEarly`, on a connection that had served before: servers close those when idle, so it says nothing.
    case stale
    case firstByteTimeout
    /// An answer with this status, 400 or more.
    case status(Int)
    /// The connection ended before the answer did.
    case cutOff
    /// The answer stopped and nothing came for the idle timeout.
    case idleTimeout
}

/// How far the answer had come.
enum Phase: Equatable, Sendable {
    /// Nothing was passed on to the client.
    case beforeFirstByte
    /// Something was.
    case streaming
}

/// What is to be done about it.
enum Remedy: Equatable, Sendable {
    /// Try the same server again, on a new connection; not counted as a retry.
    case fresh
    /// Try another server; if there is none, `giveUp`'s outcome.
    case another
    /// Pass the server's own answer on.
    case passOn
    /// Answer for it: 502 or 504.
    case giveUp
    /// Break the client's connection off, so that it cannot take a part for the whole.
    case breakOff
}

/// What it says about the server.
enum Blame: Equatable, Sendable {
    case none
    /// It is overloaded: send less for a while. Not a fault.
    case overloaded
    /// It failed: enough of these in a row and it is ejected.
    case failed
    /// It is not there: its cache is gone as well.
    case dead
}

/// Status × phase × attempts → what to do. Pure, so that the whole table is a test.
struct FailurePolicy: Equatable, Sendable {
    /// Attempts on other servers after the first.
    var retries = 2

    /// `isRepeatable`: the request may be done twice. One that may not goes to another server only if none has had it.
    func decide(
        _ failure: Failure, _ phase: Phase, retried: Int, isRepeatable: Bool = true
    ) -> (remedy: Remedy, blame: Blame) {
        let blame = Self.blame(failure)
        guard phase == .beforeFirstByte else { return (.breakOff, blame) }
        switch failure {
        case .stale: return (isRepeatable ? .fresh : .giveUp, blame)
        case .status(let status):
            guard blame != .none, retried < retries, isRepeatable else { return (.passOn, blame) }
            // Not implemented there is not implemented elsewhere.
            return (status == 501 ? .passOn : .another, blame)
        case .connect, .connectTimeout, .shortage:
            return (retried < retries ? .another : .giveUp, blame)
        case .closedEarly, .firstByteTimeout, .cutOff, .idleTimeout:
            return (retried < retries && isRepeatable ? .another : .giveUp, blame)
        }
    }

    static func blame(_ failure: Failure) -> Blame {
        switch failure {
        case .connect: .dead
        case .connectTimeout, .closedEarly, .firstByteTimeout, .cutOff, .idleTimeout: .failed
        case .stale, .shortage: .none
        case .status(429), .status(503), .status(529): .overloaded
        // The client's fault, or nobody's: neither for nor against the server.
        case .status(let status): status >= 500 && status != 501 ? .failed : .none
        }
    }
}

extension Failure {
    /// Why there is no connection.
    init(connecting error: any Error) {
        let errors = (error as? NIOConnectionError)?.connectionErrors.map(\.error) ?? [error]
        let codes = errors.compactMap { ($0 as? IOError)?.errnoCode }
        if codes.contains(where: [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL].contains) {
            self = .shortage
        } else if codes.contains(ECONNREFUSED) {
            self = .connect
        } else {
            self = .connectTimeout
        }
    }
}
