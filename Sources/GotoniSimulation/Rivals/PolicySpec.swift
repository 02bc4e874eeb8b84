import GotoniCore

/// A policy to compare, as written on the command line: `name[@topology][:parameter=value]…`
public struct PolicySpec: Sendable, Equatable {
    public enum Topology: Equatable, Sendable {
        /// One proxy that sees every request and every server.
        case central
        /// A balancer at each server, which serves or forwards once, and knows of others what it sent and what they report.
        case nodes
        /// `Scenario.proxies` of them, spread over the regions, each request at one drawn at random near its client.
        case proxies(ProxySharing)
    }

    /// As written; names the row of the table.
    public let label: String
    public let name: String
    public let topology: Topology
    /// Those of the policy, without those of the topology.
    public let parameters: [String: Double]

    public init(_ text: String) throws(SimulationError) {
        label = text
        var parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let head = parts.removeFirst().split(separator: "@", omittingEmptySubsequences: false)
        name = String(head[0])
        var parameters: [String: Double] = [:]
        for part in parts {
            let pair = part.split(separator: "=", omittingEmptySubsequences: false)
            guard pair.count == 2, let value = Double(pair[1]), value.isFinite else {
                throw SimulationError("\(text): \"\(part)\" is not parameter=number")
            }
            parameters[String(pair[0])] = value
        }
        var left = Parameters(policy: text, values: parameters)
        switch head.dropFirst().map(String.init) {
        case []: topology = .central
        case ["nodes"]: topology = .nodes
        case let names:
            guard names.count == 1, let sharing = try ProxySharing(names[0], &left) else {
                throw SimulationError("\(text): behind @ there can be nodes, apart, sharing or regions")
            }
            topology = .proxies(sharing)
        }
        self.parameters = left.values
        let rule = try rule(for: .neutral)
        if case .proxies(.regions) = topology {
            guard case .own(let policy, _, _, _, _) = rule, policy == .gorgo || policy == .predictive else {
                throw SimulationError("\(text): regions compare costs in time, which gorgo and predictive have")
            }
        }
    }

    /// What decides.
    enum Rule {
        case own(
            PolicyID, knobs: [(Knob, Double)], factors: [(PredictionTerm, Double)], index: PrefixIndex,
            search: WeightSearch)
        case rival(any RivalPolicy)
    }

    /// `engine`: what is known of the fleet's speed, for every policy that uses it.
    /// Errors: unknown name, unknown parameter.
    func rule(for engine: EngineModel) throws(SimulationError) -> Rule {
        var left = Parameters(policy: label, values: parameters)
        let rule = try Catalogue.rule(name, engine, &left)
        if let unknown = left.values.keys.min() {
            throw SimulationError("\(label): \(name) has no parameter \"\(unknown)\" (see --help)")
        }
        return rule
    }
}

/// Who looks for better weights while a run goes on.
enum WeightSearch {
    case nobody
    /// The router's own tuner; `freezeAfter`: of so many requests, 0 for never.
    case tuner(TunerSettings, freezeAfter: Int)
    case evolution
}

/// The parameters of a policy that nobody has taken yet.
struct Parameters {
    let policy: String
    var values: [String: Double]

    mutating func take(_ name: String, _ standard: Double, in bounds: ClosedRange<Double>) throws(SimulationError)
        -> Double
    {
        guard let value = values.removeValue(forKey: name) else { return standard }
        guard bounds.contains(value) else {
            throw SimulationError(
                "\(policy): \(name) must be between \(bounds.lowerBound) and \(bounds.upperBound)")
        }
        return value
    }

    /// 0 or 1.
    mutating func take(_ name: String) throws(SimulationError) -> Bool {
        let value = try take(name, 0, in: 0...1)
        guard value == 0 || value == 1 else { throw SimulationError("\(policy): \(name) must be 0 or 1") }
        return value == 1
    }
}
