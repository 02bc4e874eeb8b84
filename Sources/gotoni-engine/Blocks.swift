import CXXHash
import GotoniSimulation

/// Prompts as the engine model wants them: token ids cut into blocks of 16, each named by a small number that stands
/// for everything up to and including it, so that equal beginnings have equal numbers.
///
/// The numbers index the engine's tables, so they are given out again: a number lives while the KV cache holds the
/// block or a request that is not over names it. The engine says what it stores and evicts, hence the table is no
/// larger than the KV cache and the requests in hand, however long the engine runs. A last block that is not full has a
/// number of its own, which only the very same prompt finds.
///
/// The tokens of an answer are one block to the engine. A prompt that goes on after the answer has other cuts, so such
/// an answer is remembered by the blocks a prompt will have there, as long as the cache holds it.
struct Blocks {
    static let blockTokens = 16

    /// A prompt with its numbers, in use until `release`.
    struct Prompt {
        fileprivate(set) var segments: [Segment]
        let tokens: Int
        /// The last of them, which another prompt that begins with this one may have cut otherwise: 16 at most, for the
        /// very last token is padded, unless the text happens to end with it.
        let tail: Int
        /// Of the whole prompt, and of the blocks before the tail.
        let digest: UInt64
        fileprivate let wholeDigest: UInt64
        fileprivate let namespace: UInt64
        /// The block of the answer, if it is to be kept.
        fileprivate(set) var answer: UInt32?
        /// Whoever listens hears of its blocks by these; empty: of none.
        fileprivate var ids: [UInt32] = []
    }

    /// Where a kept answer lies behind its prompt.
    private struct Answer {
        /// Of the prompt's last block, if that was not full.
        var tail: (digest: UInt64, tokens: UInt32)?
        var block: UInt32
        /// Of the whole blocks that the tail and the answer fill together.
        var digests: [UInt64]
    }

    private struct Entry {
        var digest: UInt64
        /// Requests that name it.
        var users: UInt32 = 0
        /// The engine's cache has it.
        var isHeld = false
        /// Its key in `answers`.
        var answer: UInt64?
    }

    private var numbers: [UInt64: UInt32] = [:]
    private var entries: [Entry] = []
    private var free: [UInt32] = []
    /// By the digest of the first block that the answer has a part in.
    private var answers: [UInt64: Answer] = [:]

    /// Set: what is stored and evicted is written down in `changes`.
    var publishes = false
    /// For whoever listens, in their order; the caller takes them away.
    var changes: [KVChange] = []
    /// Digests of the full blocks that were told as stored.
    private var told: Set<UInt64> = []

    /// Numbers in use.
    var count: Int { numbers.count }

    /// `isPublic`: whoever listens hears of it.
    mutating func name(
        _ tokens: UnsafeBufferPointer<UInt32>, namespace: UInt64, isPublic: Bool = false
    ) -> Prompt {
        let digests = Self.digests(tokens, after: namespace)
        let isPadded = tokens.last.map { $0 >> 24 == 0 } ?? false
        let whole = (tokens.count - (isPadded ? 1 : 0)) / Self.blockTokens
        let tail = tokens.count - whole * Self.blockTokens
        var segments: [Segment] = []
        segments.reserveCapacity(digests.count + 1)
        var index = 0
        while index < whole {
            if let answer = answers[digests[index]] {
                index += append(answer, digests[index..<whole], to: &segments)
            } else {
                segments.append(Segment(block: use(digests[index]), tokens: UInt32(Self.blockTokens)))
                index += 1
            }
        }
        if whole < digests.count {
            segments.append(Segment(block: use(digests[whole]), tokens: UInt32(tail)))
        }
        return Prompt(
            segments: segments, tokens: tokens.count, tail: tail, digest: digests.last ?? namespace,
            wholeDigest: whole > 0 ? digests[whole - 1] : namespace, namespace: namespace,
            ids: publishes && isPublic ? Array(tokens) : [])
    }

    /// Has the answer to `prompt` kept. `continuation` is what a prompt that goes on has instead of the tail of this
    /// one and behind it, up to the end of the answer, of which `generated` tokens are generated.
    mutating func keepAnswer(
        of prompt: inout Prompt, continuation: UnsafeBufferPointer<UInt32>, generated: Int
    ) {
        let count = min(prompt.tail + generated, continuation.count) / Self.blockTokens
        let digests = Array(Self.digests(continuation, after: prompt.wholeDigest).prefix(count))
        // Shorter than a block, or somebody brought this continuation before it was generated: its blocks have names.
        guard let first = digests.first, numbers[first] == nil else { return }
        if let known = answers[first] {
            entries[Int(known.block)].users += 1
            prompt.answer = known.block
            return
        }
        let block = use(prompt.digest &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(generated))
        guard entries[Int(block)].answer == nil else { return release(block) }
        entries[Int(block)].answer = first
        answers[first] = Answer(
            tail: prompt.tail > 0 ? (prompt.digest, UInt32(prompt.tail)) : nil, block: block, digests: digests)
        prompt.answer = block
    }

    private static func digests(_ tokens: UnsafeBufferPointer<UInt32>, after first: UInt64) -> [UInt64] {
        guard let base = tokens.baseAddress else { return [] }
        var digest = first
        return stride(from: 0, to: tokens.count, by: blockTokens).map { position in
            let length = min(blockTokens, tokens.count - position)
            digest = XXH3_64bits_withSeed(base + position, length * MemoryLayout<UInt32>.stride, digest)
            return digest
        }
    }

    /// As much of `answer` as `digests` have of it, at least a block. Returns how many blocks that are.
    private mutating func append(
        _ answer: Answer, _ digests: ArraySlice<UInt64>, to segments: inout [Segment]
    ) -> Int {
        let same = zip(answer.digests, digests).prefix { $0 == $1 }.count
        var tokens = UInt32(same * Self.blockTokens)
        if let tail = answer.tail {
            segments.append(Segment(block: use(tail.digest), tokens: tail.tokens))
            tokens -= tail.tokens
        }
        if tokens > 0 {
            entries[Int(answer.block)].users += 1
            segments.append(Segment(block: answer.block, tokens: tokens))
        }
        return same
    }

    private mutating func use(_ digest: UInt64) -> UInt32 {
        let number = numbers[digest] ?? add(digest)
        entries[Int(number)].users += 1
        return number
    }

    /// The request that this was the prompt of is over.
    mutating func release(_ prompt: Prompt) {
        for segment in prompt.segments { release(segment.block) }
        if let answer = prompt.answer { release(answer) }
    }

    /// The engine keeps the prompt, or its answer.
    mutating func hold(_ prompt: Prompt, answer: Bool) {
        if answer {
            if let block = prompt.answer { entries[Int(block)].isHeld = true }
        } else {
            for segment in prompt.segments { entries[Int(segment.block)].isHeld = true }
            tellStored(prompt)
        }
    }

    /// Full blocks that nobody was told of, in runs.
    private mutating func tellStored(_ prompt: Prompt) {
        let whole = prompt.ids.count / Self.blockTokens
        guard whole > 0 else { return }
        let digests = prompt.ids.withUnsafeBufferPointer { Self.digests($0, after: prompt.namespace) }
        var first = 0
        while first < whole {
            let last = (first..<whole).first { told.contains(digests[$0]) } ?? whole
            if first < last {
                told.formUnion(digests[first..<last])
                changes.append(
                    .stored(
                        hashes: Array(digests[first..<last]), parent: first > 0 ? digests[first - 1] : nil,
                        tokens: Array(prompt.ids[first * Self.blockTokens..<last * Self.blockTokens])))
            }
            first = last + 1
        }
    }

    private mutating func tellRemoved(_ entry: Entry) {
        guard !told.isEmpty else { return }
        let digests = entry.answer.flatMap { answers[$0]?.digests } ?? [entry.digest]
        let gone = digests.filter { told.remove($0) != nil }
        if !gone.isEmpty { changes.append(.removed(gone)) }
    }

    /// The engine has evicted this one.
    mutating func evicted(_ block: UInt32) {
        guard entries.indices.contains(Int(block)) else { return }
        entries[Int(block)].isHeld = false
        tellRemoved(entries[Int(block)])
        forgetIfUnused(block)
    }

    /// The engine has evicted all.
    mutating func evictAll() {
        told = []
        for block in entries.indices where entries[block].isHeld { evicted(UInt32(block)) }
        if publishes { changes = [.cleared] }
    }

    private mutating func release(_ block: UInt32) {
        entries[Int(block)].users -= 1
        forgetIfUnused(block)
    }

    private mutating func add(_ digest: UInt64) -> UInt32 {
        let number: UInt32
        if let again = free.popLast() {
            number = again
            entries[Int(number)] = Entry(digest: digest)
        } else {
            number = UInt32(entries.count)
            entries.append(Entry(digest: digest))
        }
        numbers[digest] = number
        return number
    }

    private mutating func forgetIfUnused(_ block: UInt32) {
        let entry = entries[Int(block)]
        guard entry.users == 0, !entry.isHeld else { return }
        numbers.removeValue(forKey: entry.digest)
        if let answer = entry.answer { answers.removeValue(forKey: answer) }
        free.append(block)
    }
}
