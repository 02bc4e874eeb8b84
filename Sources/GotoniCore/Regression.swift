/// Least squares over `n` features, learned one observation at a time, forgetting, and held to what was believed before.
///
///     minimise  Σ forgetting^age · w · (y - θ·x)²  +  Σ trust[i] · (θ[i] - prior[i])²
///
/// The second sum (ridge regression, Hoerl and Kennard 1970) is added anew at every solution, so it neither fades nor lets
/// directions run away in which nothing is observed, as recursive least squares with forgetting does. `w` is Huber's
/// weight: an error far beyond the usual counts with its size, not its square. All-zero bytes are a regression
/// that has seen nothing.
struct Regression<let n: Int>: BitwiseCopyable {
    typealias Vector = InlineArray<n, Double>

    private var gram: InlineArray<n, Vector>
    private var moment: Vector
    /// Observations, each with its weight and age.
    private(set) var weight: Double
    /// Median size of the errors of what was predicted.
    private var scale: Double

    init() {
        gram = InlineArray(repeating: InlineArray(repeating: 0))
        moment = InlineArray(repeating: 0)
        weight = 0
        scale = 0
    }

    /// About as many observations as count at one time.
    static var memory: Double { 1_000 }
    private static var forgetting: Double { 1 - 1 / memory }
    /// Observations until errors are known well enough to call one an outlier.
    private static var fewErrors: Double { 20 }
    /// In median errors: three standard deviations of a normal.
    private static var outlier: Double { 4.45 }
    private static var step: Double { 1.05 }

    /// `y` was observed where `predicted` was expected. What is not finite is not taken.
    mutating func observe(_ x: Vector, _ y: Double, predicted: Double) {
        let size = (y - predicted).magnitude
        guard size.isFinite else { return }
        var w = 1.0
        if weight >= Self.fewErrors, size > Self.outlier * scale { w = Self.outlier * scale / size }
        // A median found step by step (Robbins and Monro 1951): as many errors are larger as are smaller. When the world
        // changes all are larger, and it grows until they count again.
        scale = weight == 0 ? size : scale * (size > scale ? Self.step : 1 / Self.step)
        scale = max(scale, y.magnitude * 1e-6, 1e-9)
        weight = weight * Self.forgetting + w
        for i in 0..<n {
            moment[i] = moment[i] * Self.forgetting + w * x[i] * y
            for j in 0...i { gram[i][j] = gram[i][j] * Self.forgetting + w * x[i] * x[j] }
        }
    }

    /// The coefficients; `trust[i]`, above zero: how many observations with a feature of 1 the prior is worth.
    func solution(prior: Vector, trust: Vector) -> Vector {
        // A = L·Lᵀ (Cholesky): A is positive definite, for `trust` is on its diagonal.
        var lower = gram
        var theta = moment
        for i in 0..<n {
            lower[i][i] += trust[i]
            theta[i] += trust[i] * prior[i]
        }
        for i in 0..<n {
            for j in 0..<i {
                var sum = lower[i][j]
                for k in 0..<j { sum -= lower[i][k] * lower[j][k] }
                lower[i][j] = sum / lower[j][j]
            }
            var square = lower[i][i]
            for k in 0..<i { square -= lower[i][k] * lower[i][k] }
            lower[i][i] = max(square, trust[i] * 1e-9).squareRoot()
        }
        for i in 0..<n {
            for k in 0..<i { theta[i] -= lower[i][k] * theta[k] }
            theta[i] /= lower[i][i]
        }
        for i in stride(from: n - 1, through: 0, by: -1) {
            for k in (i + 1)..<max(n, i + 1) { theta[i] -= lower[k][i] * theta[k] }
            theta[i] /= lower[i][i]
        }
        return theta
    }

    /// The same with no coefficient below zero, for a prior that has none: where the free solution has, one coefficient after
    /// the other is brought to its best beside the others (coordinate descent), which ends at the least sum there is.
    func nonNegativeSolution(prior: Vector, trust: Vector) -> Vector {
        var theta = solution(prior: prior, trust: trust)
        var isFree = true
        for i in 0..<n where theta[i] < 0 {
            theta[i] = 0
            isFree = false
        }
        if isFree { return theta }
        for _ in 0..<Self.sweeps {
            for i in 0..<n {
                var rest = moment[i] + trust[i] * prior[i]
                for j in 0..<n where j != i { rest -= (j < i ? gram[i][j] : gram[j][i]) * theta[j] }
                theta[i] = max(rest / (gram[i][i] + trust[i]), 0)
            }
        }
        return theta
    }

    private static var sweeps: Int { 40 }

    // MARK: Snapshot

    /// Of the gram the lower triangle, row after row: the other is its mirror.
    func write(_ out: inout ByteWriter) {
        for i in 0..<n {
            for j in 0...i { out.put(gram[i][j]) }
        }
        for i in 0..<n { out.put(moment[i]) }
        out.put(weight)
        out.put(scale)
    }

    /// Errors: snapshot (no observations give these numbers).
    init(_ input: inout ByteReader) throws(RouterError) {
        self.init()
        let most = Double.greatestFiniteMagnitude
        for i in 0..<n {
            for j in 0...i { gram[i][j] = try input.getDouble(in: (i == j ? 0 : -most)...most) }
        }
        for i in 0..<n { moment[i] = try input.getDouble(in: -most...most) }
        // A sum that forgets ends at `memory`, but for rounding.
        weight = try input.getDouble(in: 0...Self.memory + 1)
        scale = try input.getDouble(in: 0...most)
        // Sums of products (Cauchy and Schwarz), but for rounding.
        for i in 0..<n {
            for j in 0..<i where gram[i][j] * gram[i][j] > gram[i][i] * gram[j][j] * (1 + 1e-9) { throw .snapshot }
        }
    }
}
