import ArgumentParser

/// 60, 60s, 500ms, 2m; whole seconds are counted, at least one.
struct WaitTime: ExpressibleByArgument, Sendable {
    var duration: Duration

    init(seconds: Int) { duration = .seconds(seconds) }

    init?(argument: String) {
        let units = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]
        let unit = units.first { argument.hasSuffix($0.0) }
        guard let number = Double(argument.dropLast(unit?.0.count ?? 0)), number.isFinite else { return nil }
        let seconds = number * (unit?.1 ?? 1)
        guard seconds > 0, seconds <= 86_400 else { return nil }
        duration = .seconds(Int(seconds.rounded(.up)))
    }

    var defaultValueDescription: String { "\(duration.components.seconds)s" }
}
