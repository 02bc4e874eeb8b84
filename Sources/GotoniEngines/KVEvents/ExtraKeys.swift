/// What vLLM hashes beside the tokens of consecutive blocks: texts, for each block, of which some name the requests that share
/// it (`generate_block_hash_extra_keys` and `to_event_extra_keys`, vllm/v1/core/kv_cache_utils.py, 0.32):
///
///     [[adapter?, image …, salt?, embedding?], [adapter?, image …], …]     nil for a block without any
///
/// An image is a pair, an embedding bytes; the salt is with the first block of a prompt alone. Texts stay in the message.
struct ExtraKeys {
    /// Of the first block.
    private var first = UnsafeRawBufferPointer(start: nil, count: 0)
    private var second = UnsafeRawBufferPointer(start: nil, count: 0)
    private var firstTexts = 0
    /// The first text of a later block.
    private var later: UnsafeRawBufferPointer?
    /// Something that no request's text tells, or more texts than there are names.
    private var hasMore = false

    /// Reads a whole list. Errors: malformed.
    mutating func read(_ input: inout MessagePack) throws(KVEventError) {
        for block in 0..<(try input.array()) where !(try input.takeNull()) {
            if try input.peek() != .array {
                try readKey(&input, isFirst: block == 0, index: 0)
                continue
            }
            for index in 0..<(try input.array()) { try readKey(&input, isFirst: block == 0, index: index) }
        }
    }

    private mutating func readKey(_ input: inout MessagePack, isFirst: Bool, index: Int) throws(KVEventError) {
        guard try input.peek() == .text else {
            hasMore = true
            return try input.skip()
        }
        let text = try input.bytesOrText()
        if !isFirst {
            if let later { hasMore = hasMore || index > 0 || !isEqual(later, text) } else { later = text }
        } else if firstTexts == 0 {
            first = text
        } else if firstTexts == 1 {
            second = text
        } else {
            hasMore = true
        }
        if isFirst { firstTexts = min(firstTexts + 1, 2) }
    }

    /// The salt of a prompt's first block, empty if there is none; nil: these blocks are of requests that cannot be told by
    /// the text of their bodies. `adapter`: the name that the event says, or empty. `beginsPrompt`: there is no block before.
    func salt(adapter: UnsafeRawBufferPointer, beginsPrompt: Bool) -> UnsafeRawBufferPointer? {
        if hasMore { return nil }
        if adapter.isEmpty {
            guard later == nil, firstTexts < 2, firstTexts == 0 || beginsPrompt else { return nil }
            return first
        }
        if firstTexts > 0, !isEqual(first, adapter) { return nil }
        if let later, !isEqual(later, adapter) { return nil }
        return firstTexts < 2 || beginsPrompt ? second : nil
    }
}

private func isEqual(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    left.elementsEqual(right)
}
