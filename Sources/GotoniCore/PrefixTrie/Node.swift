/// A node of the trie with the edge that leads to it. 64 bytes: one cell.
///
/// Nodes are found by (parent, first digest) in one hash table; the sibling list exists to forget a subtree. Two orders
/// run through the nodes: all of them by last use (`newer`, `older`), and per server those it holds (in the holders).
/// In both a parent is always newer than its children, because a use touches a whole path from below; so the oldest is
/// always a leaf, and evicting from the old end is leaf-first without any search.
struct Node: BitwiseCopyable {
    /// Link of the hash table; first, where `Cells.hashLink` looks.
    var hashNext: Cells.Index = 0
    var parent: Cells.Index = 0
    var firstChild: Cells.Index = 0
    var nextSibling: Cells.Index = 0
    var previousSibling: Cells.Index = 0
    var newer: Cells.Index = 0
    var older: Cells.Index = 0
    /// Blocks before this node's edge.
    var depth: UInt32 = 0
    /// The edge.
    var run = Run()
    /// First cell of the holders beyond the inline one.
    var holders: Cells.Index = 0
    /// First of the external blocks that hang here (`PrefixTrie+External.swift`).
    var externals: Cells.Index = 0
    var holderCount: UInt16 = 0
    /// The inline holder, if `inlineSlot` is not `noSlot`: most nodes have one.
    var inlineSlot: Slot = noSlot
    var inlineNewer: Holding = .none
    var inlineOlder: Holding = .none

    /// Blocks of the edge.
    @inline(__always) var blocks: Int { Int(run.count) }
    /// Blocks from the root to the end of the edge.
    @inline(__always) var end: Int { Int(depth) + Int(run.count) }
}

/// "No server": slots go up to 65,534.
let noSlot: Slot = .max

/// One server holding one node, named by where it is written: the node's cell (place 7, inline) or a `HolderCell` and a
/// place 0 to 4 in it. It never moves while it lives.
struct Holding: RawRepresentable, Equatable, BitwiseCopyable {
    var rawValue: UInt32
    static let none = Holding(rawValue: 0)
    static let inlinePlace: UInt32 = 7

    @inline(__always) init(rawValue: UInt32) { self.rawValue = rawValue }
    @inline(__always) init(_ cell: Cells.Index, place: UInt32) { rawValue = cell << 3 | place }

    @inline(__always) var cell: Cells.Index { rawValue >> 3 }
    @inline(__always) var place: Int { Int(rawValue & 7) }
    @inline(__always) var isInline: Bool { rawValue & 7 == Self.inlinePlace }
}

/// Five more holders of a node.
struct HolderCell: BitwiseCopyable {
    static let places = 5

    var newer: InlineArray<5, Holding>
    var older: InlineArray<5, Holding>
    var slots: InlineArray<5, Slot>
    var node: Cells.Index
    var next: Cells.Index

    init(node: Cells.Index, next: Cells.Index) {
        newer = InlineArray(repeating: .none)
        older = InlineArray(repeating: .none)
        slots = InlineArray(repeating: noSlot)
        self.node = node
        self.next = next
    }
}
