/// How much of one prompt each server holds, and which servers the request excludes. Room for one decision, kept for the
/// next.
///
/// Holders are nested, so on the way down come first the nodes that very many hold (a system prompt that every request
/// begins with), then those that few hold. Only the few are listed: they are priced one by one, while the many have all
/// matched the same `wideDepth` at most, which bounds their cost by the group (`CandidateTable.cheapest`).
struct Matches: ~Copyable {
    /// Matched blocks by slot; `excluded` where no request may go.
    let blocks: Buffer<UInt32>
    /// The slots that matched more than `wideDepth`, in no order.
    let listed: Buffer<Slot>
    private(set) var count = 0
    /// Blocks to the end of the last node with very many holders; 0 if there was none.
    private(set) var wideDepth: UInt32 = 0
    /// Blocks that the server with the longest match holds.
    private(set) var deepest: UInt32 = 0
    /// Something is in `blocks` that is not listed.
    private var isDirty = false

    static let excluded = UInt32.max
    /// As many holders are very many.
    static let wide = 1_024

    init(limit: Int) throws(RouterError) {
        let blocks = try Buffer<UInt32>(count: limit)
        let listed = try Buffer<Slot>(count: limit)
        self.blocks = blocks
        self.listed = listed
    }

    /// Notes a node on the way down: `holders` servers have matched `depth` blocks. They are marked next.
    @inline(__always) mutating func enter(holders: UInt16, depth: UInt32) {
        if holders >= Self.wide { wideDepth = depth }
        if holders > 0 { deepest = depth }
    }

    @inline(__always) mutating func mark(_ slot: Slot, _ depth: UInt32) {
        let before = blocks[Int(slot)]
        blocks[Int(slot)] = depth
        if depth <= wideDepth {
            isDirty = true
        } else if before <= wideDepth {
            listed[count] = slot
            count += 1
        }
    }

    mutating func exclude(_ slot: Slot) {
        blocks[Int(slot)] = Self.excluded
        isDirty = true
    }

    /// `slots`: how many may have been marked.
    mutating func clear(_ slots: Int) {
        if isDirty {
            blocks.fill(slots, with: 0)
        } else {
            for index in 0..<count { blocks[Int(listed[index])] = 0 }
        }
        (count, wideDepth, deepest, isDirty) = (0, 0, 0, false)
    }
}
