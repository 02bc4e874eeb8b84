import Foundation
import Synchronization

/// How far several runs are, on one line of a terminal; nothing where standard error is none.
final class ProgressBar: Sendable {
    private struct State {
        var ended = 0
        var running: [String: Double] = [:]
        var shown = -1
    }

    private let total: Int
    private let isShown: Bool
    private let state = Mutex(State())

    init(of total: Int, isQuiet: Bool) {
        self.total = total
        isShown = !isQuiet && isatty(2) == 1
    }

    /// `share` of the run called `name` is done.
    func update(_ name: String, _ share: Double) { change { $0.running[name] = share } }

    func end(_ name: String) {
        change {
            $0.running[name] = nil
            $0.ended += 1
        }
    }

    func finish() {
        if isShown { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
    }

    private func change(_ body: (inout State) -> Void) {
        guard isShown else { return }
        state.withLock { state in
            body(&state)
            let share = (Double(state.ended) + state.running.values.reduce(0, +)) / Double(max(total, 1))
            let percent = Int(100 * share)
            guard percent != state.shown else { return }
            state.shown = percent
            let bar = String(repeating: "#", count: percent * 3 / 10).padding(to: 30)
            let line = "\rsimulating [\(bar)] \(percent) %, \(state.ended) of \(total) runs done"
            FileHandle.standardError.write(Data(line.utf8))
        }
    }
}
