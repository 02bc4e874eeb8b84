import GotoniCore
import GotoniEngines
import TestSupport
import Testing

/// An engine whose messages each store or remove one block, and what somebody who listens believes of it.
private struct Scene {
    struct Message {
        var number: UInt64
        var time: Double
        var block: Int
        var isStored: Bool
    }

    var cached: Set<Int> = []
    /// The last messages, for replays.
    var kept: [Message] = []
    var number: UInt64 = 0
    var time = 0.0
    let keeps: Int

    var stream: KVEventStream
    var believed: Set<Int> = []

    init(keeps: Int, hasReplay: Bool = true) {
        self.keeps = keeps
        stream = KVEventStream(hasReplay: hasReplay)
    }

    mutating func write(_ random: inout SplitMix64) -> Message {
        time += 1
        let isStored = cached.isEmpty || random.chance(60)
        let block = isStored ? random.next(below: 1_000) : cached.sorted()[random.next(below: cached.count)]
        if isStored { cached.insert(block) } else { cached.remove(block) }
        let message = Message(number: number, time: time, block: block, isStored: isStored)
        number += 1
        kept.append(message)
        if kept.count > keeps { kept.removeFirst() }
        return message
    }

    mutating func restart() {
        (cached, kept, number) = ([], [], 0)
    }

    private mutating func act(_ verdict: KVEventStream.Verdict, _ message: Message) {
        if verdict == .forget || verdict == .forgetAndApply { believed = [] }
        guard verdict == .apply || verdict == .forgetAndApply else { return }
        if message.isStored { believed.insert(message.block) } else { believed.remove(message.block) }
    }

    mutating func hear(_ message: Message) { act(stream.live(message.number, time: message.time), message) }

    mutating func reconnect() { if stream.connected() { believed = [] } }

    /// Answers the replay that is wanted, if one is; `loses` breaks it off.
    mutating func replay(loses: Bool = false) {
        guard let from = stream.wantsReplayFrom else { return }
        stream.askedForReplay()
        if loses {
            if stream.replayFailed() { believed = [] }
            return
        }
        for message in kept where message.number >= from {
            // A new replay has been wanted on the way: this one goes on for nothing.
            act(stream.replayed(message.number, time: message.time), message)
            if stream.wantsReplayFrom != nil { return replay() }
        }
        if stream.replayEnded() { believed = [] }
        replay()
    }
}

@Suite struct KVEventStreamTests {
    @Test func inOrderAllIsApplied() {
        var stream = KVEventStream(hasReplay: true)
        for number in UInt64(0)..<5 { #expect(stream.live(number, time: Double(number)) == .apply) }
        #expect(stream.wantsReplayFrom == nil && stream.counts.applied == 5)
    }

    @Test func aGapIsReplayed() {
        var stream = KVEventStream(hasReplay: true)
        _ = stream.live(0, time: 0)
        #expect(stream.live(3, time: 3) == .ignore)
        #expect(stream.wantsReplayFrom == 1)
        stream.askedForReplay()
        for number in UInt64(1)...3 { #expect(stream.replayed(number, time: Double(number)) == .apply) }
        #expect(stream.replayEnded() == false)
        #expect(stream.live(4, time: 4) == .apply && stream.counts.gaps == 1 && stream.counts.losses == 0)
    }

    @Test func withoutReplaysAGapIsALoss() {
        var stream = KVEventStream(hasReplay: false)
        _ = stream.live(0, time: 0)
        #expect(stream.live(2, time: 2) == .forgetAndApply)
        #expect(stream.live(3, time: 3) == .apply && stream.counts.losses == 1)
    }

    /// Number 1 with a later time than the one before: another engine. Without replays what it says is all there is.
    @Test func aRestartIsSeenInTheNumbers() {
        for hasReplay in [true, false] {
            var stream = KVEventStream(hasReplay: hasReplay)
            for number in UInt64(0)..<9 { _ = stream.live(number, time: Double(number)) }
            #expect(stream.live(1, time: 1) == .ignore, "an old one once more")
            #expect(stream.live(1, time: 20) == (hasReplay ? .forget : .forgetAndApply))
            #expect(stream.wantsReplayFrom == (hasReplay ? 0 : nil) && stream.counts.restarts == 1)
        }
    }

    /// Without a message: the connection is there again, and the engine has another last message, or none.
    @Test func aRestartIsSeenInTheReplay() {
        var stream = KVEventStream(hasReplay: true)
        for number in UInt64(0)..<9 { _ = stream.live(number, time: Double(number)) }
        #expect(!stream.connected() && stream.wantsReplayFrom == 8)
        stream.askedForReplay()
        #expect(stream.replayEnded() == true, "it has no such message")
        #expect(stream.wantsReplayFrom == 0 && stream.counts.restarts == 1)
        stream.askedForReplay()
        #expect(!stream.replayEnded() && stream.live(0, time: 30) == .apply)

        #expect(!stream.connected() && stream.wantsReplayFrom == 0)
        stream.askedForReplay()
        #expect(stream.replayed(0, time: 30) == .ignore, "the same engine")
        #expect(!stream.replayEnded() && stream.live(1, time: 31) == .apply && stream.counts.restarts == 1)
    }

    /// What was forgotten elsewhere comes again, from the same engine and from another one, which is still counted.
    @Test func whatWasForgottenIsReplayed() {
        for isSame in [true, false] {
            var stream = KVEventStream(hasReplay: true)
            for number in UInt64(0)..<4 { _ = stream.live(number, time: Double(number)) }
            #expect(stream.isComplete)
            _ = stream.connected()
            stream.forgotten()
            #expect(stream.wantsReplayFrom == 3, "first who it is")
            stream.askedForReplay()
            #expect(stream.replayed(3, time: isSame ? 3 : 9) == (isSame ? .ignore : .forget))
            #expect(stream.wantsReplayFrom == 0 && !stream.isLive && !stream.isComplete)
            stream.askedForReplay()
            #expect(stream.replayed(0, time: isSame ? 0 : 8) == .apply && !stream.replayEnded())
            #expect(stream.isLive && stream.isComplete && stream.counts.restarts == (isSame ? 0 : 1))
        }
    }

    /// A message that comes while the end of a replay is on its way is neither lost nor a reason to begin anew.
    @Test func messagesMeetTheEndOfAReplay() {
        var stream = KVEventStream(hasReplay: true)
        for number in UInt64(0)..<3 { _ = stream.live(number, time: Double(number)) }
        _ = stream.connected()
        stream.askedForReplay()
        #expect(stream.live(3, time: 3) == .ignore, "not before it is known who speaks")
        #expect(stream.replayed(2, time: 2) == .ignore)
        #expect(!stream.replayEnded() && stream.wantsReplayFrom == 3)
        stream.askedForReplay()
        #expect(stream.replayed(3, time: 3) == .apply)
        #expect(stream.live(4, time: 4) == .apply, "it is the next one")
        #expect(stream.live(6, time: 6) == .ignore && !stream.replayEnded() && stream.wantsReplayFrom == 5)
        stream.askedForReplay()
        #expect(stream.replayEnded() == true, "what it was asked for did not come")
        #expect(stream.counts.losses == 1 && stream.live(7, time: 7) == .apply)
    }

    @Test func whatIsCompleteAndWhatIsNot() {
        var late = KVEventStream(hasReplay: false)
        _ = late.connected()
        #expect(!late.isLive && late.live(5, time: 5) == .apply && late.isLive && !late.isComplete)
        late.cleared()
        #expect(late.isComplete)
        #expect(late.live(7, time: 7) == .forgetAndApply && !late.isComplete)

        var idle = KVEventStream(hasReplay: true)
        #expect(!idle.connected() && idle.wantsReplayFrom == 0)
        idle.askedForReplay()
        #expect(!idle.replayEnded() && idle.isComplete && idle.isLive, "it has said nothing yet")
        #expect(idle.live(0, time: 1) == .apply)

        var long = KVEventStream(hasReplay: true)
        _ = long.connected()
        long.askedForReplay()
        #expect(long.replayed(90, time: 90) == .forgetAndApply && !long.replayEnded() && !long.isComplete)
    }

    @Test func aReplayThatNeverComesIsALoss() {
        var stream = KVEventStream(hasReplay: true)
        _ = stream.live(0, time: 0)
        _ = stream.live(5, time: 5)
        stream.askedForReplay()
        #expect(stream.replayFailed() == true)
        #expect(stream.live(6, time: 6) == .apply)
        #expect(stream.live(8, time: 8) == .forgetAndApply, "it is not asked again")
    }

    /// Messages lost, twice and late, broken connections, restarts, replays that reach back far enough or do not, and some
    /// that fail: when all is quiet, what is believed is cached; and all of it is, where replays reach back to the beginning.
    @Test func disorderConverges() {
        for seed in Seeds.sequence(2_000) {
            var random = SplitMix64(seed: seed)
            let reachesBack = random.chance(50)
            let replaysFail = !reachesBack && random.chance(30)
            var scene = Scene(
                keeps: reachesBack ? .max : random.pick(1...30), hasReplay: reachesBack || random.chance(70))
            var late: [Scene.Message] = []
            for _ in 0..<random.pick(1...200) {
                let message = scene.write(&random)
                switch random.next(below: 20) {
                case 0: break
                case 1: late.append(message)
                case 2:
                    scene.hear(message)
                    scene.hear(message)
                case 3:
                    scene.restart()
                    late = []
                    scene.reconnect()
                case 4:
                    scene.reconnect()
                    scene.hear(message)
                default: scene.hear(message)
                }
                if !late.isEmpty, random.chance(30) { scene.hear(late.removeFirst()) }
                if random.chance(80) { scene.replay(loses: replaysFail && random.chance(20)) }
            }
            // A last message that arrives tells of what is missing before it.
            scene.hear(scene.write(&random))
            scene.replay()
            scene.hear(scene.write(&random))
            scene.replay()
            #expect(scene.believed.isSubset(of: scene.cached), "seed \(seed)")
            if reachesBack { #expect(scene.believed == scene.cached, "seed \(seed)") }
        }
    }

    /// The control: who applies whatever comes believes in blocks that are gone.
    @Test func withoutTheStreamDisorderDoesNotConverge() {
        var random = SplitMix64(seed: 1)
        var scene = Scene(keeps: 1)
        var believed: Set<Int> = []
        for _ in 0..<500 {
            let message = scene.write(&random)
            guard random.chance(90) else { continue }
            if message.isStored { believed.insert(message.block) } else { believed.remove(message.block) }
        }
        #expect(!believed.isSubset(of: scene.cached))
    }
}
