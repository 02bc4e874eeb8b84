import ArgumentParser

struct Available: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Which machines can be had now, where, and what they cost.")

    @Option(name: [.short, .long], help: ArgumentHelp("In this region.", valueName: "NAME")) var region: String?
    @Option(help: ArgumentHelp("With this in its name or its GPU's.", valueName: "TEXT")) var gpu: String?
    @Option(help: ArgumentHelp("With so many GPUs at least.", valueName: "N")) var minGpus = 0
    @Option(help: ArgumentHelp("For no more than this an hour.", valueName: "DOLLARS")) var maxPrice: Double?
    @Flag(help: "Also those that cannot be had now.") var all = false
    @OptionGroup var options: CloudOptions

    func run() async throws {
        let found = try await options.cloud().types().filter { type in
            (all || !type.regions.isEmpty) && (region.map(type.regions.contains) ?? true) && type.gpus >= minGpus
                && (maxPrice.map { type.costs(atMost: $0) } ?? true)
                && (gpu.map { (type.name + type.gpuDescription).lowercased().contains($0.lowercased()) } ?? true)
        }
        if options.json { return print(try JSONText.of(found)) }
        guard !found.isEmpty else {
            return print(all ? "There is no such type." : "None can be had now; --all shows all types.")
        }
        var table = TextTable(["TYPE", "REGIONS", "GPUS", "VCPUS", "MEMORY", "STORAGE", "PER HOUR"], leading: 2)
        for type in found {
            table.add([
                type.name, type.regions.isEmpty ? "-" : type.regions.joined(separator: ", "), "\(type.gpus)",
                "\(type.vcpus)", "\(type.memoryGib) GiB", "\(type.storageGib) GiB",
                Money.text(cents: type.priceCentsPerHour),
            ])
        }
        print(table.lines.joined(separator: "\n"))
    }
}
