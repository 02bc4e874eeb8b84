import GotoniCore
import TestSupport
import Testing

@testable import GotoniGateway

@Suite struct AdmissionQueueTests {
    private func time(_ value: Int) -> Nanoseconds { Nanoseconds(UInt64(value)) }

    @Test func firstComeFirstServed() {
        var queue = AdmissionQueue(limit: 10)
        for id in UInt64(1)...3 { #expect(queue.add(id: id, priority: 0, deadline: time(100), now: time(0)) == true) }
        #expect(queue.take(now: time(1)) == 1)
        #expect(queue.take(now: time(1)) == 2)
        queue.putBack(id: 1)
        #expect(queue.take(now: time(1)) == 1)
        #expect(queue.take(now: time(1)) == 3)
        #expect(queue.take(now: time(1)) == nil)
        #expect(queue.count == 3)
    }

    /// Who failed at a server waits for another one, and those behind it take the place there.
    @Test func whoFailedSomewhereIsPassedOverThere() {
        var queue = AdmissionQueue(limit: 10)
        let (a, b) = (ServerID(1), ServerID(2))
        #expect(queue.add(id: 1, priority: 0, deadline: time(100), avoiding: [a], now: time(0)) == true)
        #expect(queue.anywhereCount == 0)
        #expect(queue.add(id: 2, priority: 0, deadline: time(100), now: time(0)) == true)
        #expect(queue.anywhereCount == 1)
        #expect(queue.take(at: a, now: time(1)) == 2)
        #expect(queue.take(at: a, now: time(1)) == nil)
        queue.putBack(id: 2)
        // A place of which nobody knows where it is may be the one it avoids.
        #expect(queue.take(now: time(1)) == 2)
        #expect(queue.take(now: time(1)) == nil)
        #expect(queue.take(at: b, now: time(1)) == 1)
        let retakes = [queue.take(id: 1), queue.take(id: 3)]
        #expect(retakes == [false, false])
        queue.putBack(id: 1)
        #expect(queue.take(id: 1) == true)
        queue.remove(id: 2)
        #expect(queue.anywhereCount == 0)
    }

    @Test func lowerPriorityGoesFirst() {
        var queue = AdmissionQueue(limit: 10)
        for (id, priority) in [(1, 0), (2, 5), (3, -5), (4, 0), (5, -5), (6, .max), (7, .min)] as [(UInt64, Int)] {
            #expect(queue.add(id: id, priority: priority, deadline: time(100), now: time(0)) == true)
        }
        #expect((0..<7).map { _ in queue.take(now: time(1)) } == [7, 3, 5, 1, 4, 2, 6])
    }

    @Test func itIsBounded() {
        var queue = AdmissionQueue(limit: 2)
        #expect(queue.add(id: 1, priority: 0, deadline: time(100), now: time(0)) == true)
        #expect(queue.add(id: 2, priority: 0, deadline: time(100), now: time(0)) == true)
        #expect(queue.add(id: 3, priority: -9, deadline: time(100), now: time(0)) == false)
        // Taken is still in it; removed is not.
        #expect(queue.take(now: time(0)) == 1)
        #expect(queue.add(id: 3, priority: 0, deadline: time(100), now: time(0)) == false)
        let removals = [queue.remove(id: 1), queue.remove(id: 1)]
        #expect(removals == [true, false])
        #expect(queue.add(id: 3, priority: 0, deadline: time(100), now: time(0)) == true)
        var none = AdmissionQueue(limit: 0)
        #expect(none.add(id: 1, priority: 0, deadline: time(100), now: time(0)) == false)
    }

    @Test func whoseDeadlineHasPassedIsNotOffered() {
        var queue = AdmissionQueue(limit: 10)
        #expect(queue.add(id: 1, priority: 0, deadline: time(10), now: time(0)) == true)
        #expect(queue.add(id: 2, priority: 0, deadline: time(20), now: time(5)) == true)
        #expect(queue.oldestArrival == time(0))
        #expect(queue.take(now: time(9)) == 1)
        queue.putBack(id: 1)
        #expect(queue.take(now: time(10)) == 2)
        queue.putBack(id: 2)
        #expect(queue.take(now: time(20)) == nil)
        #expect(queue.count == 2)
        queue.remove(id: 1)
        #expect(queue.oldestArrival == time(5))
        queue.remove(id: 2)
        #expect(queue.oldestArrival == nil && queue.count == 0)
    }

    /// As naive as can be: a list, searched each time.
    private struct Model {
        struct Entry {
            var id: UInt64
            var priority: Int
            var deadline: Int
            var arrival: Int
            var isTaken = false
        }
        var limit: Int
        /// In the order of arrival.
        var entries: [Entry] = []

        mutating func take(now: Int) -> UInt64? {
            let free = entries.indices.filter { !entries[$0].isTaken && entries[$0].deadline > now }
            // The first of the smallest, as `min` gives it.
            guard let next = free.min(by: { entries[$0].priority < entries[$1].priority }) else { return nil }
            entries[next].isTaken = true
            return entries[next].id
        }
    }

    @Test(arguments: Seeds.sequence(1000)) func asTheModel(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let limit = random.pick(0...12)
        var (queue, model) = (AdmissionQueue(limit: limit), Model(limit: limit))
        var (now, nextID) = (0, UInt64(0))
        let priorities = random.chance(50) ? 0 : 2
        for _ in 0..<100 {
            now += random.pick(0...3)
            let known = UInt64(random.pick(0...max(0, Int(nextID))))
            switch random.pick(0...9) {
            case 0...3:
                nextID += 1
                let (priority, deadline) = (random.pick(-priorities...priorities), now + random.pick(0...40))
                let fits = model.entries.count < limit
                if fits {
                    model.entries.append(.init(id: nextID, priority: priority, deadline: deadline, arrival: now))
                }
                #expect(
                    queue.add(id: nextID, priority: priority, deadline: time(deadline), now: time(now)) == fits,
                    "seed \(seed)")
            case 4...6: #expect(queue.take(now: time(now)) == model.take(now: now), "seed \(seed)")
            case 7:
                queue.putBack(id: known)
                for index in model.entries.indices where model.entries[index].id == known {
                    model.entries[index].isTaken = false
                }
            default:
                let index = model.entries.firstIndex { $0.id == known }
                if let index { model.entries.remove(at: index) }
                #expect(queue.remove(id: known) == (index != nil), "seed \(seed)")
            }
            #expect(queue.count == model.entries.count && queue.count <= limit, "seed \(seed)")
            #expect(queue.oldestArrival == model.entries.map(\.arrival).min().map(time), "seed \(seed)")
        }
    }
}
