import GotoniCore
import Logging
import NATS
import NIOConcurrencyHelpers
import TestSupport
import Testing

@testable import GotoniGateway

/// One tuner for a group: proxies that are told of changes late, each at its own time, and a key that is compared and set.
@Suite struct GroupTunerTests {
    private struct Proxy {
        let router: SharedRouter
        var tuner: GroupTuner
        /// Changes of the key, and of a weight, that it has been told of.
        var told = 0
        var knobs = 0
        /// What a watch tells comes before anything is written.
        var hasJoined = false

        init(_ name: Int) throws {
            var configuration = Configuration()
            (configuration.memoryBudgetBytes, configuration.maxServers, configuration.maxTickets) = (64 << 10, 1, 1)
            router = try SharedRouter(configuration)
            tuner = GroupTuner(proxy: String(name, radix: 16))
        }

        func status() throws -> TunerStatus {
            try router.withRouter { (router) throws(RouterError) in router.tunerStatus() }
        }

        var phase: TunerPhase { get throws { try status().phase } }

        func change(_ body: (inout Router) throws(RouterError) -> Void) throws { try router.withRouter(body) }

        func follow() throws {
            guard let leader = tuner.leader else { return }
            try? change { (router) throws(RouterError) in try leader.lead(&router) }
        }
    }

    private struct Group {
        var proxies: [Proxy]
        var names: Int
        /// What the key has had, the numbers of its changes from 1; and what operators have set the weight of round trips to.
        var changes: [SharedTuner] = []
        var knobs: [Double] = []
        var random: SplitMix64

        init(seed: UInt64) throws {
            random = SplitMix64(seed: seed)
            proxies = try (0..<3).map { try Proxy($0) }
            names = 3
        }

        /// Gives whether there was something to be told.
        mutating func tell(_ index: Int) throws -> Bool {
            if proxies[index].knobs < knobs.count {
                let value = knobs[proxies[index].knobs]
                proxies[index].knobs += 1
                try proxies[index].change { (router) throws(RouterError) in try router.set(.rttWeight, to: value) }
                try proxies[index].follow()
                return true
            }
            guard proxies[index].told < changes.count else {
                defer { proxies[index].hasJoined = true }
                return !proxies[index].hasJoined
            }
            let change = changes[proxies[index].told]
            proxies[index].told += 1
            if proxies[index].tuner.hear(change, revision: UInt64(proxies[index].told)) { try proxies[index].follow() }
            return true
        }

        mutating func write(_ index: Int) throws -> Bool {
            guard proxies[index].hasJoined, let news = proxies[index].tuner.news(try proxies[index].status()) else {
                return false
            }
            guard proxies[index].tuner.revision == UInt64(changes.count) else { return true }
            changes.append(news)
            proxies[index].tuner.wrote(news, revision: UInt64(changes.count))
            return true
        }

        /// As the control endpoint does it: not where another is known to tune. What was found meanwhile is drawn.
        mutating func start(_ index: Int) throws {
            let proxy = proxies[index]
            let held = proxy.tuner.held
            if try [.off, .following].contains(proxy.phase), held?.phase == .on, held?.proxy != proxy.tuner.proxy {
                return
            }
            let found = [TunedWeight(.queuedWeight, Double(random.pick(1...8)) / 4)]
            try proxy.change { (router) throws(RouterError) in
                try router.followTuner(TunerSettings(), found.span)
                try router.startTuner(TunerSettings())
            }
        }

        mutating func pull(_ brake: TunerBrake, _ index: Int) throws {
            try proxies[index].change { (router) throws(RouterError) in brake.pull(&router) }
            // The loop hears of it later.
            if random.chance(50) { _ = try tell(index) }
            if try proxies[index].phase == .following {
                try proxies[index].change { (router) throws(RouterError) in brake.pull(&router) }
            }
            if try proxies[index].phase == .frozen { proxies[index].tuner.takeOver() }
        }

        mutating func join() throws {
            var proxy = try Proxy(names)
            // A bucket tells who joins the last change alone.
            (proxy.told, proxy.knobs) = (max(changes.count - 1, 0), max(knobs.count - 1, 0))
            proxies[random.pick(0...2)] = proxy
            names += 1
        }

        mutating func act() throws {
            let index = random.pick(0...2)
            switch random.pick(0...99) {
            case ..<50: _ = try tell(index)
            case ..<75: _ = try write(index)
            case ..<85: try start(index)
            case ..<88: try pull(random.chance(50) ? .freeze : .rollback, index)
            case ..<94:
                let value = [1, 1.5, 2][random.pick(0...2)]
                // An order of the group's own bucket: this one has it already.
                while try tell(index) {}
                knobs.append(value)
                _ = try tell(index)
            default: try join()
            }
        }

        /// Until nobody has anything to tell or to hear. False: it does not end.
        mutating func settle() throws -> Bool {
            for _ in 0..<200 {
                var isQuiet = true
                for index in proxies.indices {
                    while try tell(index) { isQuiet = false }
                    if try write(index) { isQuiet = false }
                }
                if isQuiet { return true }
            }
            return false
        }
    }

    private func incumbents(_ status: TunerStatus) -> [Double] {
        (0..<status.weightCount).map { status.weights[$0].incumbent }
    }

    @Test func oneTunesAndTheOthersFollowWhateverOperatorsDo() throws {
        var (tuned, left) = (0, 0)
        for seed in Seeds.sequence(500) {
            var group = try Group(seed: seed)
            for _ in 0..<group.random.pick(20...150) { try group.act() }
            let agrees = try group.settle()
            #expect(agrees, "seed \(seed)")
            let all = try group.proxies.map { try $0.status() }
            let tuners = all.indices.filter { ![.off, .following].contains(all[$0].phase) }
            #expect(tuners.count <= 1, "seed \(seed): \(all.map(\.phase))")
            guard let leader = group.changes.last, leader.phase != .off else { continue }
            if let tuner = tuners.first {
                tuned += 1
                #expect(group.proxies[tuner].tuner.proxy == leader.proxy, "seed \(seed)")
                for status in all { #expect(incumbents(status) == incumbents(all[tuner]), "seed \(seed)") }
            } else {
                // The one that tuned has gone: its weights stay where those that are set are still what they were.
                left += 1
                #expect(!group.proxies.contains { $0.tuner.proxy == leader.proxy }, "seed \(seed)")
                #expect(Set(all.map(incumbents)).count == 1 && Set(all.map(\.phase)).count == 1, "seed \(seed)")
            }
        }
        if Seeds.sequence(500).count == 500 { #expect(tuned > 150 && left > 50, "\(tuned), \(left)") }
    }

    /// Also at one that follows, and also if the one that tunes is writing just then.
    @Test func aBrakeAtAnyProxyHoldsForAll() throws {
        for seed in Seeds.sequence(500) {
            var group = try Group(seed: seed)
            try group.start(0)
            var agrees = try group.settle()
            #expect(agrees, "seed \(seed)")
            for _ in 0..<group.random.pick(0...3) {
                try group.start(0)
                _ = try group.write(0)
            }
            let index = group.random.pick(0...2)
            try group.pull(.rollback, index)
            agrees = try group.settle()
            #expect(agrees, "seed \(seed)")
            for (place, proxy) in group.proxies.enumerated() {
                let status = try proxy.status()
                #expect(status.phase == (place == index ? .frozen : .following), "seed \(seed)")
                for weight in 0..<4 { #expect(status.weights[weight].incumbent == status.weights[weight].home) }
            }
        }
    }

    /// Both were told to start before either heard of the other.
    @Test func ofTwoThatStartAtOnceOneTunes() throws {
        var group = try Group(seed: 1)
        try group.start(0)
        try group.start(1)
        let agrees = try group.settle()
        #expect(agrees)
        let phases = try group.proxies.map { try $0.phase }
        #expect(phases == [.warming, .following, .following], "the first that wrote")
    }

    // MARK: In the bucket

    private func event(_ json: String?, _ revision: UInt64) -> NATSWatch.Event {
        .changed(key: SharedKey.tuner, value: json.map { Array($0.utf8) }, revision: revision)
    }

    private static func json(rtt: String, home: String = "1", phase: String = "on") -> String {
        """
        {"proxy": "9f", "phase": "\(phase)", "limits": {"ttft_ms": 500, "itl_ms": 50},
         "home": {"rtt_weight": \(home)}, "weights": {"rtt_weight": \(rtt)}}
        """
    }

    @Test func whatCannotBeFollowedIsToldAndChangesNothing() async throws {
        try await Self.withGroup { group, gateway, said in
            func follows(_ rtt: Double) -> Bool {
                guard let status = Self.status(gateway), status.phase == .following else { return false }
                return status.weights[0].incumbent == rtt && status.weights[0].home == 1
                    && status.settings.firstTokenLimit == 500
            }
            func isOff() -> Bool { Self.status(gateway)?.phase == .off }
            group.apply(event(Self.json(rtt: "2"), 1))
            #expect(follows(2))
            #expect(said.withLockedValue { $0 } == ["another proxy tunes for the group"])
            let unreadable = ["", "{}", "[1]", Self.json(rtt: "2", phase: "trying"), Self.json(rtt: "\"2\"")]
            for (index, json) in unreadable.enumerated() {
                group.apply(event(json, UInt64(10 + index)))
                #expect(said.withLockedValue { $0.last } == "what the group's bucket holds cannot be read")
                #expect(follows(2))
            }
            let unusable = [
                Self.json(rtt: "0"), Self.json(rtt: "1e9"), Self.json(rtt: "2", home: "1.5"),
                Self.json(rtt: "2").replacing("rtt_weight", with: "rtt_wait"),
                Self.json(rtt: "2").replacing("rtt_weight", with: "decode_weight"),
                Self.json(rtt: "2").replacing("500", with: "0"),
            ]
            for (index, json) in unusable.enumerated() {
                group.apply(event(Self.json(rtt: "3"), UInt64(20 + 2 * index)))
                #expect(follows(3))
                said.withLockedValue { $0 = [] }
                group.apply(event(json, UInt64(21 + 2 * index)))
                #expect(isOff(), "\(json)")
                #expect(said.withLockedValue { $0.count == 1 && $0[0].contains("is not followed") }, "\(json)")
            }
            group.apply(event(Self.json(rtt: "3"), 40))
            group.apply(event(Self.json(rtt: "4"), 39))
            #expect(follows(3), "that is older")
            group.apply(event(nil, 41))
            #expect(isOff(), "an operator has deleted it")
        }
    }

    private static func status(_ gateway: Gateway) -> TunerStatus? {
        try? gateway.dispatcher.router.withRouter { (router) throws(RouterError) in router.tunerStatus() }
    }

    /// With a gateway that decides by `gorgo`, and what the group has logged.
    private static func withGroup(
        _ body: (inout SharedGroup, Gateway, NIOLockedValueBox<[String]>) throws -> Void
    ) async throws {
        var configuration = GatewayConfiguration()
        configuration.policy = .gorgo
        let gateway = try Gateway.quiet(configuration)
        let said = NIOLockedValueBox<[String]>([])
        var group = SharedGroup(gateway, proxy: "1", logger: Logger(label: "test") { _ in Listener(said: said) })
        do {
            try body(&group, gateway, said)
        } catch {
            Issue.record("\(error)")
        }
        _ = await gateway.stop(settle: Nanoseconds(0))
    }

    private struct Listener: LogHandler {
        let said: NIOLockedValueBox<[String]>
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        init(said: NIOLockedValueBox<[String]>) { self.said = said }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { said.withLockedValue { $0.append("\(event.message)") } }
    }
}
