import GotoniCore
import NIOCore

/// The other proxies of a group, as far as they were heard: a value without clock.
struct Siblings: Equatable {
    /// Between two messages of one kind. With few siblings it is short, for the next turn of a conversation may come at once, and
    /// where servers are busy every load that is not known yet sends somebody astray; with more it is longer, so that nobody
    /// hears over a thousand messages of one kind a second; from fifty on it is what a region can bear (docs/scale.md).
    static func interval(siblings: Int) -> Nanoseconds {
        min(Nanoseconds(milliseconds: Double(max(siblings + 1, 2))), longestInterval)
    }
    static let longestInterval = Nanoseconds(milliseconds: 50)
    /// Each tells all its load so often, and between what has changed.
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

    /// Gives the servers that it is about, by `ServerKey`. Errors: those of the messages.
    mutating func hear(loads bytes: inout ByteBuffer, now: Nanoseconds) throws(MeshError) -> [UInt64] {
        let told = try SiblingLoads(from: &bytes)
        let before = told.isWhole ? byID[told.proxy].map { Array($0.loads.keys) } ?? [] : []
        if told.isLeaving {
            byID[told.proxy]?.loads = [:]
            byID[told.proxy]?.loadsHeard = nil
        } else {
            change(told.proxy, now: now) {
                told.apply(to: &$0.loads)
                $0.loadsHeard = now
            }
        }
        return before + told.loads.keys
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

    /// What they have at servers, all together; what is old counts less. `keys`: `ServerKey`s of some servers; nil: of all
    /// where they have any.
    func loads(at keys: Set<UInt64>? = nil, now: Nanoseconds) -> [UInt64: Load] {
        var sum: [UInt64: Load] = [:]
        for sibling in byID.values {
            guard let heard = sibling.loadsHeard else { continue }
            let share = Self.share(age: now.since(heard))
            if let keys {
                for key in keys {
                    if let load = sibling.loads[key] { sum[key, default: Load()].add(load, times: share) }
                }
            } else {
                for (key, load) in sibling.loads { sum[key, default: Load()].add(load, times: share) }
            }
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
