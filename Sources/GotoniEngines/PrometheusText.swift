/// Reads the samples of Prometheus exposition text (and of OpenMetrics), one after the other.
///
/// Tolerant as a scraper must be: comments, blank lines and lines it does not understand are passed over; label values
/// may hold spaces, braces and escapes; time stamps and exemplars are ignored. Allocates nothing. The text is borrowed
/// and must outlive the reader and its samples.
public struct PrometheusText: IteratorProtocol {
    private let text: UnsafeRawBufferPointer
    private var position = 0

    public init(_ text: UnsafeRawBufferPointer) { self.text = text }

    /// One line: a name, labels and a value.
    public struct Sample {
        public let name: UnsafeRawBufferPointer
        fileprivate let labelText: UnsafeRawBufferPointer
        fileprivate let valueText: UnsafeRawBufferPointer

        /// May be infinite or not a number; nil: it is not written as one.
        public var value: Double? { number(valueText) }

        public func isNamed(_ name: StaticString) -> Bool {
            name.utf8CodeUnitCount == self.name.count && name.withUTF8Buffer { $0.elementsEqual(self.name) }
        }

        public var labels: Labels { Labels(text: labelText) }

        /// The label's value as written, with its escapes; nil: the sample has no such label.
        public func label(_ name: StaticString) -> UnsafeRawBufferPointer? {
            var labels = labels
            while let label = labels.next() {
                if name.withUTF8Buffer({ $0.elementsEqual(label.name) }) { return label.value }
            }
            return nil
        }
    }

    /// The labels of a sample in the order they are written, values with their escapes.
    public struct Labels: IteratorProtocol, Sequence {
        fileprivate let text: UnsafeRawBufferPointer
        private var position = 0

        fileprivate init(text: UnsafeRawBufferPointer) { self.text = text }

        public mutating func next() -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)? {
            while position < text.count, isBlank(text[position]) || text[position] == UInt8(ascii: ",") {
                position += 1
            }
            let start = position
            while position < text.count, text[position] != UInt8(ascii: "=") { position += 1 }
            let name = trimmed(text, start..<position)
            position += 1
            while position < text.count, isBlank(text[position]) { position += 1 }
            guard position < text.count, text[position] == UInt8(ascii: "\""),
                let end = endOfQuoted(text, position)
            else { return nil }
            let value = UnsafeRawBufferPointer(rebasing: text[(position + 1)..<end])
            position = end + 1
            return (name, value)
        }
    }

    /// The next sample; nil at the end.
    public mutating func next() -> Sample? {
        while position < text.count {
            let end = text[position...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
            let line = trimmed(text, position..<end)
            position = end + 1
            guard let first = line.first, first != UInt8(ascii: "#"), let sample = Self.sample(line) else { continue }
            return sample
        }
        return nil
    }

    private static func sample(_ line: UnsafeRawBufferPointer) -> Sample? {
        var position = 0
        while position < line.count, !isBlank(line[position]), line[position] != UInt8(ascii: "{") { position += 1 }
        let name = UnsafeRawBufferPointer(rebasing: line[..<position])
        while position < line.count, isBlank(line[position]) { position += 1 }
        var labels = UnsafeRawBufferPointer(rebasing: line[position..<position])
        if position < line.count, line[position] == UInt8(ascii: "{") {
            guard let end = endOfLabels(line, position) else { return nil }
            labels = UnsafeRawBufferPointer(rebasing: line[(position + 1)..<end])
            position = end + 1
            while position < line.count, isBlank(line[position]) { position += 1 }
        }
        let start = position
        while position < line.count, !isBlank(line[position]) { position += 1 }
        guard !name.isEmpty, position > start else { return nil }
        return Sample(
            name: name, labelText: labels, valueText: UnsafeRawBufferPointer(rebasing: line[start..<position]))
    }

    /// The brace that ends what the one at `start` begins.
    private static func endOfLabels(_ line: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        var position = start + 1
        while position < line.count, line[position] != UInt8(ascii: "}") {
            if line[position] == UInt8(ascii: "\"") {
                guard let end = endOfQuoted(line, position) else { return nil }
                position = end
            }
            position += 1
        }
        return position < line.count ? position : nil
    }
}

private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }

private func trimmed(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> UnsafeRawBufferPointer {
    var range = range
    while let first = range.first, isBlank(text[first]) { range = (first + 1)..<range.upperBound }
    while let last = range.last, isBlank(text[last]) { range = range.lowerBound..<last }
    return UnsafeRawBufferPointer(rebasing: text[range])
}

/// The quote that ends what the one at `start` begins.
private func endOfQuoted(_ text: UnsafeRawBufferPointer, _ start: Int) -> Int? {
    var position = start + 1
    while position < text.count, text[position] != UInt8(ascii: "\"") {
        position += text[position] == UInt8(ascii: "\\") ? 2 : 1
    }
    return position < text.count ? position : nil
}

/// A number as Go and Python write it; also `+Inf`, `-Inf` and `NaN`.
private func number(_ text: UnsafeRawBufferPointer) -> Double? {
    // Longer ones are none.
    guard text.count <= 64 else { return nil }
    return Double(String(decoding: text, as: UTF8.self))
}
