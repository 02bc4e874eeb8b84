import CXXHash

// What would be slow to learn again, as bytes: servers with their round trip times, policy, knobs, the generator's
// state, the prefix trie with its orders of use, what answers have taught of speeds, and the tuner. Little-endian:
//
//     magic u64 · version u32 · block tokens u32 · total bytes u64
//     policy u32 · knobs u32, then a double each · generator u64 · turn u64
//     servers u32, then each: id u64 · state u32 · max requests u32 · capacity in tokens u64
//                             · incarnation known u32, u64 · rtt known u32 · minimum u64 · excess double
//     nodes u32, newest first (so parents come before children), then each: parent's number u32 (0 root) · blocks u32
//                             · digests, 6 bytes each
//     per server: holdings u32, then the node numbers u32, newest first
//     tokens of an answer double · answers double · speed of all servers
//     per server: observed u32, and if 1 its speed
//     tuner u32 (0 off, 1 on, 2 frozen, 3 following), and if not 0: dimensions u32 · two limits, doubles · incumbent, 4 doubles
//                             · goodput, level, spent, reach, answer, doubles · generator u64 · counts, 8 u64
//                             · 8 banned points, each 4 doubles · left u32 · regression of 6
//     XXH3-64 of all that u64
//
// A speed: coefficients of the first token, 5 doubles · of decoding, 2 · first tokens u64 · mean, bias, error and doubt, a
// double each · regressions of 5 and of 2 features. A regression of n: gram, n(n+1)/2 doubles · moment, n · weight · scale.
//
// Version 2 ends before the tokens of an answer. It is still read: a new program then learns speeds, but keeps prefixes.

extension Router {
    private static let magic: UInt64 = 0x0A0D_494E_4F54_4F47  // "GOTONI\r\n"
    private static let version: UInt32 = 3
    private static let versionWithoutSpeeds: UInt32 = 2
    private static let headerBytes = 24
    private static let checksumBytes = 8

    /// Writes a snapshot into `target` if it fits, and gives its size in bytes either way. Errors: memory.
    public func save(into target: UnsafeMutableRawBufferPointer) throws(RouterError) -> Int {
        // The total stands in the header, so the first pass measures and the second writes.
        let numbers = try Buffer<UInt32>(count: Int(trie.untouched))
        var measure = ByteWriter(UnsafeMutableRawBufferPointer(start: nil, count: 0))
        write(&measure, total: 0, numbers)
        let total = measure.count + Self.checksumBytes
        guard total <= target.count else { return total }
        var writer = ByteWriter(target)
        write(&writer, total: total, numbers)
        let checksum = XXH3_64bits(writer.written.baseAddress, writer.written.count)
        writer.put(checksum)
        return total
    }

    private func write(_ out: inout ByteWriter, total: Int, _ numbers: borrowing Buffer<UInt32>) {
        out.put(Self.magic)
        out.put(Self.version)
        out.put(UInt32(configuration.blockTokens))
        out.put(UInt64(total))
        out.put(policy.rawValue)
        out.put(UInt32(Knob.allCases.count))
        for knob in Knob.allCases { out.put(tuning[knob]) }
        out.put(chance.random.state)
        out.put(chance.turn)
        writeServers(&out)
        trie.writeNodes(&out, numbers)
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed {
            trie.writeHoldings(Slot(slot), &out, numbers)
        }
        writeSpeeds(&out)
        tuner.write(&out)
    }

    private func writeServers(_ out: inout ByteWriter) {
        out.put(UInt32(servers.count))
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed {
            let row = servers[Slot(slot)]
            out.put(row.id.rawValue)
            out.put(UInt32(row.state.rawValue))
            out.put(row.maxRequests)
            out.put(row.kvCapacityTokens)
            out.put(UInt32(row.incarnation == nil ? 0 : 1))
            out.put(row.incarnation ?? 0)
            out.put(UInt32(row.rttFilter.isKnown ? 1 : 0))
            out.put(row.rttFilter.saved.minimum)
            out.put(row.rttFilter.saved.excess)
        }
    }

    private func writeSpeeds(_ out: inout ByteWriter) {
        servers.speeds.writeFleet(&out)
        for slot in 0..<servers.highWater where servers[Slot(slot)].isUsed { servers.speeds.write(Slot(slot), &out) }
    }

    /// Replaces the state by a snapshot's. Open tickets end. On any error the router is as it was.
    /// Errors: snapshot, snapshotVersion, capacity, memory.
    public mutating func load(from source: UnsafeRawBufferPointer, now: Nanoseconds) throws(RouterError) {
        advance(to: now)
        var (version, input) = try checkedBody(source)
        var fresh = try Router(configuration)
        fresh.now = self.now
        do throws(RouterError) {
            try fresh.read(&input)
            if version > Self.versionWithoutSpeeds {
                try fresh.servers.readSpeeds(&input)
                fresh.tuner = try Tuner(&input, dimensions: fresh.tunedDimensions)
                fresh.reprice()
            }
        } catch {
            // A full bound and missing memory are what they are; anything else says that the bytes are wrong.
            throw error == .capacity || error == .memory ? error : .snapshot
        }
        guard input.left == 0, try fresh.violation() == nil else { throw .snapshot }

        while let row = ledger.nextOpen(after: nil) {
            endTicket(row)
            counters.orphaned += 1
        }
        matches.clear(servers.highWater)
        // The ledger stays, so that the tickets it issued are still known as ended.
        swap(&servers, &fresh.servers)
        swap(&trie, &fresh.trie)
        // Counters go on.
        trie.counts.evictedByCapacity = fresh.trie.counts.evictedByCapacity
        trie.counts.evictedByBudget = fresh.trie.counts.evictedByBudget
        trie.counts.truncated = fresh.trie.counts.truncated
        fresh.chance.draws = chance.draws
        (policy, tuning, chance) = (fresh.policy, fresh.tuning, fresh.chance)
        (tuner, arms) = (fresh.tuner, fresh.arms)
    }

    /// Checks header and checksum; gives the version, and what lies between.
    private func checkedBody(_ source: UnsafeRawBufferPointer) throws(RouterError) -> (UInt32, ByteReader) {
        var header = ByteReader(source)
        guard try header.get(UInt64.self) == Self.magic else { throw .snapshot }
        let version = try header.get(UInt32.self)
        guard (Self.versionWithoutSpeeds...Self.version).contains(version) else { throw .snapshotVersion }
        let blockTokens = try header.get(UInt32.self)
        guard try header.get(UInt64.self) == UInt64(source.count), header.left >= Self.checksumBytes else {
            throw .snapshot
        }
        let end = source.count - Self.checksumBytes
        let checksum = UInt64(littleEndian: source.loadUnaligned(fromByteOffset: end, as: UInt64.self))
        guard XXH3_64bits(source.baseAddress, end) == checksum else { throw .snapshot }
        guard blockTokens == UInt32(configuration.blockTokens) else { throw .snapshotVersion }
        return (version, ByteReader(UnsafeRawBufferPointer(rebasing: source[Self.headerBytes..<end])))
    }

    private mutating func read(_ input: inout ByteReader) throws(RouterError) {
        guard let policy = PolicyID(rawValue: try input.get(UInt32.self)) else { throw .snapshot }
        setPolicy(policy)
        // An older snapshot has fewer: the others stay as they are.
        let knobs = Int(try input.get(UInt32.self))
        guard knobs <= Knob.allCases.count else { throw .snapshot }
        for knob in Knob.allCases.prefix(knobs) { try set(knob, to: try input.getDouble()) }
        chance.random.state = try input.get(UInt64.self)
        chance.turn = try input.get(UInt64.self)
        let serverCount = Int(try input.get(UInt32.self))
        for _ in 0..<serverCount { try readServer(&input) }
        let nodes = try trie.readNodes(&input)
        for slot in 0..<serverCount { try trie.readHoldings(Slot(slot), &input, nodes) }
    }

    private mutating func readServer(_ input: inout ByteReader) throws(RouterError) {
        let slot = try servers.add(ServerID(try input.get(UInt64.self)))
        guard let state = ServerState(rawValue: UInt8(clamping: try input.get(UInt32.self))) else { throw .snapshot }
        let maxRequests = try input.get(UInt32.self)
        setCapacity(slot, try input.get(UInt64.self))
        let reported = try input.get(UInt32.self)
        let incarnation = try input.get(UInt64.self)
        let known = try input.get(UInt32.self)
        let minimum = try input.get(UInt64.self)
        let excess = try input.getDouble()
        guard maxRequests > 0, reported <= 1, known <= 1, minimum <= Self.longestRTT,
            (0...Double(Self.longestRTT)).contains(excess)
        else {
            throw .snapshot
        }
        let filter = known == 1 ? RTTFilter(minimum: minimum, excess: excess, now: now) : RTTFilter()
        servers.update(slot) {
            $0.state = state
            $0.maxRequests = maxRequests
            $0.incarnation = reported == 1 ? incarnation : nil
            $0.rttFilter = filter
            $0.rtt = filter.estimate
        }
    }
}

extension PrefixTrie {
    /// Numbers the nodes from 1, newest first, in `numbers` (by cell), and writes them in that order.
    func writeNodes(_ out: inout ByteWriter, _ numbers: borrowing Buffer<UInt32>) {
        out.put(UInt32(counts.nodes))
        var number: UInt32 = 0
        var node = newest
        while node != 0 {
            number += 1
            numbers[Int(node)] = number
            let entry = cells[node: node]
            // The parent is newer, so it has its number; the root keeps 0.
            out.put(numbers[Int(entry.parent)])
            out.put(entry.run.count)
            var cursor = RunCursor(cells, entry.run)
            for _ in 0..<entry.blocks {
                let digest = cells.digest(cursor.cell, cursor.position)
                out.put(UInt32(truncatingIfNeeded: digest))
                out.put(UInt16(truncatingIfNeeded: digest >> 32))
                cursor.skip(1)
            }
            node = entry.older
        }
    }

    func writeHoldings(_ slot: Slot, _ out: inout ByteWriter, _ numbers: borrowing Buffer<UInt32>) {
        var count: UInt32 = 0
        var holding = holders[Int(slot)].newest
        while holding != .none {
            count += 1
            holding = older(holding)
        }
        out.put(count)
        holding = holders[Int(slot)].newest
        while holding != .none {
            out.put(numbers[Int(node(of: holding))])
            holding = older(holding)
        }
    }

    /// Builds the nodes of a snapshot in an empty trie, without holders. Gives their cells by number.
    mutating func readNodes(_ input: inout ByteReader) throws(RouterError) -> Buffer<Cells.Index> {
        let count = Int(try input.get(UInt32.self))
        guard count < cells.count else { throw .capacity }
        let nodes = try Buffer<Cells.Index>(count: count + 1)
        for number in 1..<(count + 1) {
            let parent = Int(try input.get(UInt32.self))
            let blocks = Int(try input.get(UInt32.self))
            guard parent < number, blocks > 0, blocks * 6 <= input.left else { throw .snapshot }
            guard freeCells > Run.cells(for: blocks) + 1 else { throw .capacity }
            nodes[number] = try readNode(&input, parent: nodes[parent], blocks: blocks)
        }
        for number in stride(from: count, to: 0, by: -1) { enterOrder(nodes[number]) }
        return nodes
    }

    private mutating func readNode(
        _ input: inout ByteReader, parent: Cells.Index, blocks: Int
    ) throws(RouterError) -> Cells.Index {
        let digests = try Buffer<UInt64>(count: blocks)
        for block in 0..<blocks {
            let low = UInt64(try input.get(UInt32.self))
            digests[block] = low | UInt64(try input.get(UInt16.self)) << 32
        }
        guard cells[node: parent].end + blocks <= Int(UInt32.max), child(of: parent, digests[0]) == 0 else {
            throw .snapshot
        }
        return newChild(of: parent, UnsafePointer(digests.base), blocks)
    }

    mutating func readHoldings(
        _ slot: Slot, _ input: inout ByteReader, _ nodes: borrowing Buffer<Cells.Index>
    ) throws(RouterError) {
        let count = Int(try input.get(UInt32.self))
        guard count * 4 <= input.left else { throw .snapshot }
        let order = try Buffer<Cells.Index>(count: count)
        for index in 0..<count {
            let number = Int(try input.get(UInt32.self))
            guard number > 0, number < nodes.count else { throw .snapshot }
            order[index] = nodes[number]
        }
        for index in stride(from: count - 1, through: 0, by: -1) {
            guard holding(order[index], slot) == .none else { throw .snapshot }
            guard freeCells > Self.cellsPerAddedHolder else { throw .capacity }
            let holding = addHolder(order[index], slot)
            enterOrder(holding, of: slot)
            holders[Int(slot)].blocks += cells[node: order[index]].blocks
        }
    }
}
