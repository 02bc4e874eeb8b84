import GotoniCore
import NIOCore

/// The other proxies of a group, as far as they were heard: a value without clock.
struct Siblings: Equatable {
    /// Each says that it is there so often, and when its load has changed at once.
    static let heartbeat = Nanoseconds(milliseconds: 1_000)
    /// One that was not heard for so long no longer counts in full, and for so long not at all.
    static let late = Nanoseconds(milliseconds: 1_500)
    static let silent = Nanoseconds(milliseconds: 4_000)
    /// What it has told is forgotten, and it must begin anew to be understood.
    static let gone = Nanoseconds(milliseconds: 60_000)
    /// More are not listened to.
    static let most = 1_024

    private struct Sibling: Equatable {
        var memory = SiblingMemory()
        var loads: [UInt64: Load] = [:]
        var loadsHeard: Nanoseconds?
        var heard: Nanoseconds

        func isThere(now: Nanoseconds) -> Bool { loadsHeard.map { now.since($0) < Siblings.silent } ?? false }
    }
    private var byID: [UInt64: Sibling] = [:]

    /// Proxies that are there.
    func count(now: Nanoseconds) -> Int { byID.values.count { $0.isThere(now: now) } }

    func isThere(_ proxy: UInt64, now: Nanoseconds) -> Bool { byID[proxy]?.isThere(now: now) ?? false }

    /// Errors: those of the messages.
    mutating func hear(loads bytes: inout ByteBuffer, now: Nanoseconds) throws(MeshError) {
        let told = try SiblingLoads(from: &bytes)
        if told.isLeaving {
            byID[told.proxy]?.loads = [:]
            byID[told.proxy]?.loadsHeard = nil
        } else {
            change(told.proxy, now: now) {
                $0.loads = told.loads
                $0.loadsHeard = now
            }
        }
    }

    mutating func hear(
        prompts bytes: inout ByteBuffer, now: Nanoseconds
    ) throws(MeshError) -> SiblingMemory.News {
        guard let proxy = SiblingPrompts.proxy(of: bytes) else { throw .malformed }
        var sibling = byID[proxy] ?? Sibling(heard: now)
        guard byID[proxy] != nil || byID.count < Self.most else { return .prompts([], blockTokens: 0) }
        sibling.heard = now
        defer { byID[proxy] = sibling }
        return try sibling.memory.read(&bytes)
    }

    private mutating func change(_ proxy: UInt64, now: Nanoseconds, _ change: (inout Sibling) -> Void) {
        guard byID[proxy] != nil || byID.count < Self.most else { return }
        change(&byID[proxy, default: Sibling(heard: now)])
        byID[proxy]?.heard = now
    }

    /// What they have at servers, all together, by `ServerKey`; what is old counts less.
    func loads(now: Nanoseconds) -> [UInt64: Load] {
        var sum: [UInt64: Load] = [:]
        for sibling in byID.values {
            guard let heard = sibling.loadsHeard else { continue }
            let share = Self.share(age: now.since(heard))
            for (key, load) in sibling.loads where share > 0 { sum[key, default: Load()].add(load, times: share) }
        }
        return sum
    }

    /// From 1 to 0: requests that nobody has told of lately may have ended.
    private static func share(age: Nanoseconds) -> Double {
        let (late, silent) = (late.milliseconds, silent.milliseconds)
        return min(max((silent - age.milliseconds) / (silent - late), 0), 1)
    }

    mutating func forget(now: Nanoseconds) { byID = byID.filter { now.since($0.value.heard) < Self.gone } }
}

extension Load {
    fileprivate mutating func add(_ other: Load, times share: Double) {
        func part(_ figure: UInt64) -> UInt64 { UInt64(Double(figure) * share) }
        queuedRequests += part(other.queuedRequests)
        runningRequests += part(other.runningRequests)
        queuedTokens += part(other.queuedTokens)
        runningTokens += part(other.runningTokens)
        owedTokens += part(other.owedTokens)
    }
}
