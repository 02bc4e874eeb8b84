import Foundation

/// Keeps the distance between requests that a cloud asks for, also between processes: a file has the times of the last ones.
struct RequestPace: Sendable {
    private let path: String
    private let interval: Double

    init(name: String, interval: Double) throws(CommandError) {
        let runtime = ProcessInfo.processInfo.environment["XDG_RUNTIME_DIR"]
        // Nobody else may hold the lock.
        let folder = runtime.map { $0 + "/gotoni" } ?? Files.configuration
        try Files.makeFolder(folder)
        path = "\(folder)/\(name).pace"
        self.interval = interval
    }

    /// Waits until a request may go. `kind`: one that also keeps `turns` intervals from its own kind.
    func turn(_ kind: String?, turns: Double) async {
        var isSaid = false
        while true {
            let wait = waitOrTake(kind, turns)
            guard wait > 0 else { return }
            if wait > 3, !isSaid {
                Progress.say(
                    "waiting \(wait.text(0)) s: the cloud takes one \(kind ?? "request") every \((turns * interval).text(0)) s"
                )
                isSaid = true
            }
            try? await Task.sleep(for: .seconds(wait))
        }
    }

    /// After a try that failed: longer each time, and not all at once.
    func rest(afterTry number: Int) async {
        try? await Task.sleep(for: .seconds(interval * Double(1 << number) * Double.random(in: 0.75...1.25)))
    }

    /// Seconds to wait; 0: it may go, and the file says so.
    private func waitOrTake(_ kind: String?, _ turns: Double) -> Double {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        // Who cannot write there keeps no distance; the cloud then says 429, which is heeded.
        guard file >= 0 else { return 0 }
        defer { close(file) }
        guard flock(file, LOCK_EX) == 0 else { return 0 }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = pread(file, &bytes, bytes.count, 0)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        var last: [String: Double] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, let time = Double(words[1]) { last[String(words[0])] = time }
        }
        let now = Date().timeIntervalSince1970
        func left(_ name: String, _ distance: Double) -> Double {
            // A time to come is a clock that was set back.
            guard let time = last[name], time <= now else { return 0 }
            return max(0, time + distance - now)
        }
        let wait = max(left("any", interval), kind.map { left($0, turns * interval) } ?? 0)
        guard wait == 0 else { return wait }
        last["any"] = now
        if let kind { last[kind] = now }
        let lines = Array(last.map { "\($0.key) \($0.value)\n" }.joined().utf8)
        // What cannot be written is distance that is not kept.
        _ = ftruncate(file, 0)
        _ = pwrite(file, lines, lines.count, 0)
        return 0
    }
}
