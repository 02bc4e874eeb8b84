extension PrefixTrie {
    /// A place in the trie: `inside` blocks down the edge of `node`, `depth` blocks from the root.
    struct Place: BitwiseCopyable {
        var node: Cells.Index = root
        var inside = 0
        var depth = 0
    }

    /// Follows `digests` down from `start` as far as the trie has them. `visit` gets every node whose edge was entered
    /// or followed further, with the depth reached in it.
    @inline(__always) func walk(
        _ digests: UnsafePointer<UInt64>, _ count: Int, from start: Place = Place(), visit: (Cells.Index, Int) -> Void
    ) -> Place {
        var place = start
        var done = 0
        while done < count {
            var inside = place.inside
            if inside == cells[node: place.node].blocks {
                let child = child(of: place.node, digests[done])
                if child == 0 { break }
                place.node = child
                inside = 0
            }
            let run = cells[node: place.node].run
            var cursor = RunCursor(cells, run)
            if inside > 0 { cursor.skip(inside) }
            let common = cursor.commonPrefix(digests + done, min(count - done, Int(run.count) - inside))
            place.inside = inside + common
            place.depth += common
            done += common
            visit(place.node, place.depth)
            if place.inside < Int(run.count) { break }
        }
        return place
    }

    /// Marks in `matches` how many blocks of the prompt each server holds.
    func match(_ digests: UnsafePointer<UInt64>, _ count: Int, into matches: inout Matches) {
        _ = walk(digests, count) { node, depth in
            let depth = UInt32(truncatingIfNeeded: depth)
            matches.enter(holders: cells[node: node].holderCount, depth: depth)
            forEachHolder(of: node) { slot, _ in matches.mark(slot, depth) }
        }
    }
}
