/// What happened to the KV cache, in the engine's names for blocks.
enum KVChange {
    /// Consecutive blocks, behind `parent` or at the beginning of a prompt.
    case stored(hashes: [UInt64], parent: UInt64?, tokens: [UInt32])
    case removed([UInt64])
    case cleared
}

/// KV events as SGLang writes them from 0.5.21 on: MessagePack, a batch `[ts, [event …], rank]`, events as maps, hashes
/// as signed integers.
struct KVEventBatch {
    private(set) var bytes: [UInt8] = []

    /// `time`: seconds since 1970.
    init(_ changes: [KVChange], blockTokens: Int, time: Double) {
        array(3)
        bytes.append(0xCB)
        big(time.bitPattern)
        array(changes.count)
        for change in changes {
            switch change {
            case .stored(let hashes, let parent, let tokens):
                map(6)
                text("type")
                text("BlockStored")
                text("block_hashes")
                array(hashes.count)
                for hash in hashes { signed(hash) }
                text("parent_block_hash")
                if let parent { signed(parent) } else { bytes.append(0xC0) }
                text("token_ids")
                array(tokens.count)
                for token in tokens { unsigned(UInt64(token)) }
                text("block_size")
                unsigned(UInt64(blockTokens))
                text("medium")
                text("GPU")
            case .removed(let hashes):
                map(3)
                text("type")
                text("BlockRemoved")
                text("block_hashes")
                array(hashes.count)
                for hash in hashes { signed(hash) }
                text("medium")
                text("GPU")
            case .cleared:
                map(1)
                text("type")
                text("AllBlocksCleared")
            }
        }
        unsigned(0)
    }

    // MARK: MessagePack

    private mutating func big<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func array(_ count: Int) {
        switch count {
        case ..<16: bytes.append(0x90 | UInt8(count))
        case ..<65_536:
            bytes.append(0xDC)
            big(UInt16(count))
        default:
            bytes.append(0xDD)
            big(UInt32(clamping: count))
        }
    }

    /// Of at most 15 pairs.
    private mutating func map(_ pairs: UInt8) { bytes.append(0x80 | pairs) }

    /// Of at most 31 bytes.
    private mutating func text(_ text: StaticString) {
        bytes.append(0xA0 | UInt8(text.utf8CodeUnitCount))
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    private mutating func signed(_ value: UInt64) {
        bytes.append(0xD3)
        big(value)
    }

    private mutating func unsigned(_ value: UInt64) {
        switch value {
        case ..<128: bytes.append(UInt8(value))
        case ..<65_536:
            bytes.append(0xCD)
            big(UInt16(value))
        case ..<(1 << 32):
            bytes.append(0xCE)
            big(UInt32(value))
        default:
            bytes.append(0xCF)
            big(value)
        }
    }
}
