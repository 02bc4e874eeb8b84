import Glibc
import GotoniGateway
import Logging

/// Log lines on standard error, as text or as one JSON object a line.
enum LogSetup {
    static func install(level: Logger.Level, format: LogFormat) throws {
        LoggingSystem.bootstrap { label in LineLogHandler(label: label, format: format, logLevel: level) }
    }
}

enum LogFormat: String, CaseIterable, Sendable { case text, json }

struct LineLogHandler: LogHandler {
    let label: String
    let format: LogFormat
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(label: String, format: LogFormat, logLevel: Logger.Level) {
        self.label = label
        self.format = format
        self.logLevel = logLevel
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        let line: String
        switch format {
        case .text:
            let pairs = all.map { " \($0.key)=\($0.value)" }.joined()
            line = "\(Self.now()) \(event.level.rawValue.uppercased()) \(event.message)\(pairs)\n"
        case .json:
            let members =
                [
                    ("time", Self.now()), ("level", event.level.rawValue), ("logger", label),
                    ("message", "\(event.message)"),
                ]
                + all.map { ($0.key, "\($0.value)") }
            line =
                "{" + members.map { "\(JSONText.quoted($0.0)):\(JSONText.quoted($0.1))" }.joined(separator: ",") + "}\n"
        }
        StandardStream.error(line)
    }

    private static func now() -> String {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        var fields = tm()
        gmtime_r(&time.tv_sec, &fields)
        var buffer = [CChar](repeating: 0, count: 32)
        strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%S", &fields)
        let text = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let fraction = String(time.tv_nsec / 1_000_000)
        return String(decoding: text, as: UTF8.self) + "." + String(repeating: "0", count: 3 - fraction.count)
            + fraction + "Z"
    }

}

/// Whole lines to the process's streams, in one write each.
enum StandardStream {
    static func output(_ text: String) { put(text, STDOUT_FILENO) }
    static func error(_ text: String) { put(text, STDERR_FILENO) }

    private static func put(_ text: String, _ file: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while rest.count > 0 {
                let count = write(file, rest.baseAddress, rest.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }
}
