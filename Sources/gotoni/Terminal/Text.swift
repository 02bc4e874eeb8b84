// Numbers and words as they are printed.

extension String {
    /// With spaces at its end, or in front.
    func padding(to width: Int, left: Bool = false) -> String {
        let spaces = String(repeating: " ", count: max(width - count, 0))
        return left ? spaces + self : self + spaces
    }
}

extension Double {
    /// With so many digits behind the point.
    func text(_ digits: Int) -> String {
        guard isFinite else { return "-" }
        let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
        let scaled = (abs(self) * scale).rounded()
        guard scaled < 9e18 else { return "\(self)" }
        let (whole, fraction) = Int(scaled).quotientAndRemainder(dividingBy: Int(scale))
        let sign = self < 0 && scaled > 0 ? "-" : ""
        guard digits > 0 else { return "\(sign)\(whole)" }
        return "\(sign)\(whole)." + String(fraction).padding(zerosTo: digits)
    }
}

extension String {
    fileprivate func padding(zerosTo width: Int) -> String {
        String(repeating: "0", count: max(width - count, 0)) + self
    }
}

/// Of numbers that may be unknown.
extension Optional where Wrapped == Double {
    func milliseconds(_ digits: Int) -> String { self.map { $0.text(digits) + " ms" } ?? "-" }
    var percent: String { self.map { ($0 * 100).text(0) + " %" } ?? "-" }
}

extension Optional where Wrapped == Int {
    var text: String { self.map { "\($0)" } ?? "-" }
}
