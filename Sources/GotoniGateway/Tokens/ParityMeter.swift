/// Our tokens beside the engine's: of prompts that are said to be exact, how many had as many tokens as the engine
/// counted; and how much the engine found in its cache of what was predicted.
struct ParityMeter: Sendable {
    /// What is looked at for a warning: the last prompts that say something.
    static let window = 64
    /// Most of these that may differ, and least share of the predicted tokens that the engine must have found.
    static let mostUnequal = 3
    static let leastFound = 0.5

    private(set) var prompts: UInt64 = 0
    private(set) var equal: UInt64 = 0
    private(set) var ourTokens: UInt64 = 0
    private(set) var engineTokens: UInt64 = 0
    /// Of prompts of which something was predicted to be cached and the engine said how much was.
    private(set) var predictions: UInt64 = 0
    private(set) var withinBlock: UInt64 = 0
    private(set) var predictedTokens: UInt64 = 0
    private(set) var foundTokens: UInt64 = 0

    private var counts = Ring<Bool>(capacity: window)
    private var finds = Ring<(predicted: Int, found: Int)>(capacity: window)
    private(set) var countsDrift = false
    private(set) var findsDrift = false

    enum Warning: Equatable, Sendable {
        case counts(unequal: Int, of: Int)
        case finds(percent: Int)
        case over
    }

    /// `predicted`: in our tokens. Gives what is worth a line in the log, once each time it begins or ends.
    mutating func note(ours: Int, engine: Int?, predicted: Int, found: Int?, blockTokens: Int) -> Warning? {
        let before = (countsDrift, findsDrift)
        if let engine {
            prompts += 1
            ourTokens += UInt64(ours)
            engineTokens += UInt64(engine)
            if ours == engine { equal += 1 }
            counts.add(ours == engine)
        }
        if let found, predicted > 0 {
            predictions += 1
            predictedTokens += UInt64(predicted)
            foundTokens += UInt64(found)
            if abs(found - predicted) <= blockTokens { withinBlock += 1 }
            finds.add((predicted, found))
        }
        let unequal = counts.elements.count { !$0 }
        countsDrift = unequal > Self.mostUnequal
        let latest = finds.elements
        let (sum, share) = (
            latest.reduce(0) { $0 + $1.predicted }, latest.reduce(0) { $0 + min($1.found, $1.predicted) }
        )
        findsDrift = latest.count >= Self.window / 2 && Double(share) < Double(sum) * Self.leastFound
        if countsDrift, !before.0 { return .counts(unequal: unequal, of: counts.elements.count) }
        if findsDrift, !before.1 { return .finds(percent: share * 100 / max(1, sum)) }
        if before.0 || before.1, !countsDrift, !findsDrift { return .over }
        return nil
    }
}
