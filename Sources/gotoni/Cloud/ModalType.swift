/// The hardware of a sandbox, as Modal names GPUs: "H100", "A100-80GB:4"; "cpu" has none. Lambda's "gpu_8x_h100_sxm5" is
/// "H100:8". A GPU that is not known here is left to Modal.
struct ModalType: Equatable {
    /// Modal's own names.
    private static let gpus = ["T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "H100", "H200", "B200"]
    private static let counts = [1, 2, 4, 8]
    /// Of which one sandbox gets four at most.
    private static let small = "A10"
    private static let memory = [
        "T4": 16, "L4": 24, "A10": 24, "L40S": 48, "A100-40GB": 40, "A100-80GB": 80, "H100": 80, "H200": 141,
        "B200": 180,
    ]
    /// What a sandbox gets for each GPU, or without one. Modal takes at least that much money for them.
    private static let cores = 4
    private static let memoryGib = 32
    private static let memoryGibWithout = 8
    /// Of the disk; Modal's default.
    private static let storageGib = 512
    /// Where each may be; narrower names, such as us-east, are taken as well.
    private static let regions = [ModalRegion.anywhere, "us", "eu", "ap"]

    /// Nil: none.
    var gpu: String?
    var count: Int

    static let all =
        [ModalType(gpu: nil, count: 1)]
        + gpus.flatMap { gpu in
            counts.filter { gpu != small || $0 <= 4 }.map { ModalType(gpu: gpu, count: $0) }
        }

    var name: String {
        guard let gpu else { return "cpu" }
        return count == 1 ? gpu : "\(gpu):\(count)"
    }

    /// What one asks of Modal.
    var cores: Int { Self.cores * count }
    var memoryMib: Int { (gpu == nil ? Self.memoryGibWithout : Self.memoryGib * count) << 10 }

    /// In cents an hour. `rates`: dollars by Modal's names; nil where one is missing.
    private func price(_ rates: [String: Double]) -> Int? {
        guard let core = rates["cpu_hour_cost_sandbox"] ?? rates["cpu_hour_cost"],
            let gib = rates["mem_gib_hour_cost_sandbox"] ?? rates["mem_gib_hour_cost"]
        else { return nil }
        var dollars = core * Double(cores) + gib * Double(memoryMib >> 10)
        if let gpu {
            guard let each = rates["gpu_hour_cost_" + Self.rateName(gpu)] else { return nil }
            dollars += each * Double(count)
        }
        guard dollars.isFinite, dollars >= 0, dollars < 1e6 else { return nil }
        return Int((dollars * 100).rounded())
    }

    private static func rateName(_ gpu: String) -> String {
        let name = gpu.lowercased().replacing("-", with: "_").filter { $0 != "!" && $0 != "+" }
        return ["a10": "a10g", "a100": "a100_40gb"][name] ?? name
    }

    func machineType(_ rates: [String: Double]) -> MachineType {
        let memory = gpu.flatMap { Self.memory[$0] }.map { " (\($0) GB)" } ?? ""
        return MachineType(
            name: name, description: gpu.map { "\(count)x \($0)\(memory)" } ?? "no GPU", gpus: gpu == nil ? 0 : count,
            // A core has two threads.
            gpuDescription: gpu.map { $0 + memory } ?? "none", vcpus: 2 * cores, memoryGib: memoryMib >> 10,
            storageGib: Self.storageGib, priceCentsPerHour: price(rates), regions: Self.regions)
    }
}

extension ModalType {
    /// Nil: it names no GPUs.
    init?(_ name: String) {
        let words = name.lowercased().split(separator: "_")
        if words.count >= 3, words[0] == "gpu", words[1].hasSuffix("x"), let count = Int(words[1].dropLast()) {
            let gpu = words.dropFirst(2).filter { !$0.hasPrefix("sxm") && !$0.hasPrefix("pcie") }.joined(separator: "-")
            self.init(gpu: gpu == "a100" ? "a100-40gb" : gpu, counted: count)
        } else if name.lowercased() == "cpu" {
            self.init(gpu: nil, count: 1)
        } else {
            let parts = name.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count <= 2, let count = parts.count == 1 ? 1 : Int(parts[1]) else { return nil }
            self.init(gpu: String(parts[0]), counted: count)
        }
    }

    private init?(gpu: String, counted count: Int) {
        guard !gpu.isEmpty, (1...64).contains(count) else { return nil }
        self.init(gpu: Self.gpus.first { $0.lowercased() == gpu.lowercased() } ?? gpu, count: count)
    }
}

/// Where a sandbox may run; wherever Modal likes is the cheapest.
enum ModalRegion {
    static let anywhere = "anywhere"

    /// By what they multiply prices (modal.com/docs/guide/region-selection): 1 where there is none, more for broad ones
    /// such as us, and more still for narrow ones such as us-east.
    static func factor(_ names: [String]) -> Double {
        names.map { $0.contains("-") ? 1.75 : 1.5 }.max() ?? 1
    }

    /// "us,eu-west" is two.
    static func names(_ region: String) -> [String] {
        let names = region.split(separator: ",").map { $0.filter { $0 != " " } }.filter { !$0.isEmpty }
        return names.contains(anywhere) || names.contains("auto") ? [] : names
    }
}
