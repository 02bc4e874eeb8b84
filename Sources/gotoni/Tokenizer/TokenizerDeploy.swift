import ArgumentParser
import Foundation

struct TokenizerDeploy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deploy", abstract: "Install the service on machines over SSH, with its models, and start it.",
        discussion: """
            Looks what is there, sends and starts what is missing, and asks whether it runs; what is there already is left \
            as it is. A machine needs python3 (3.9 or newer) with venv, and reach of a package index for pip. Everything \
            lies in ~/.local/share/gotoni/tokenizer of the user there; nothing needs root. Of a model only the files of \
            its tokenizer are sent.
            """)

    @Argument(help: ArgumentHelp("The machines.", valueName: "USER@HOST"))
    var hosts: [String]

    @Option(
        help: ArgumentHelp(
            "A model's folder or tokenizer.json here, which is sent, or a name of Hugging Face's; repeatable.",
            valueName: "[NAME=]PATH|NAME"))
    var model: [String]

    @Option(
        help: ArgumentHelp(
            "The service's package (default: share/gotoni/gotoni-tokenizer.tar.gz where gotoni is installed).",
            valueName: "FILE"))
    var package: String?

    @Flag(help: "Only look, and print what would be done.")
    var dryRun = false

    @Option(help: ArgumentHelp("How long to wait for the service to be ready.", valueName: "TIME"))
    var timeout = WaitTime(seconds: 120)

    @OptionGroup var common: TokenizerOptions

    func validate() throws { try SSHOptions.check(hosts) }

    func run() async throws {
        let deployment = try await Deployment(package: package, models: model)
        defer { deployment.removeFiles() }
        try await common.withMachines(hosts) { machines in
            let reports = await common.onEach(machines) { [dryRun, timeout] service throws(CommandError) in
                let plan = try await deployment.plan(for: service)
                return dryRun ? plan.report : try await deployment.carryOut(plan, on: service, limit: timeout.duration)
            }
            try common.finish(reports, wanting: dryRun ? nil : .running)
        }
    }
}

/// What is put on machines: the package, the models, and how the service is started.
struct Deployment: Sendable {
    /// A compressed tar of this machine, unpacked there as the folder `place`.
    struct Parcel: Sendable {
        var place: String
        var file: String
        var hash: String
        var bytes: Int
    }

    /// What one machine lacks.
    struct Plan: Sendable {
        var send: [Parcel]
        var installs: Bool
        /// Something runs there that is not what is wanted.
        var stops: Bool
        var starts: Bool
        /// The machine as it is.
        var report: TokenizerReport
        /// Where parcels are put.
        var data: String

        var steps: [String] {
            send.map { "send \($0.place)" } + (installs ? ["install"] : []) + (stops ? ["stop"] : [])
                + (starts ? ["start"] : [])
        }
    }

    /// A model as the service there is told of it; a parcel's is below the folder of data.
    private enum Model: Sendable {
        case named(String)
        case sent(name: String, place: String)

        func argument(_ data: String) -> String {
            switch self {
            case .named(let name): name
            case .sent(let name, let place): "\(name)=\(data)/\(place)"
            }
        }
    }

    private let folder: String
    private let package: Parcel
    private var parcels: [Parcel]
    private var models: [Model] = []
    private var extras = ""

    /// Packs what is to be sent.
    init(package given: String?, models: [String]) async throws(CommandError) {
        guard let file = given ?? Files.beside("../share/gotoni/gotoni-tokenizer.tar.gz") else {
            throw CommandError(
                "The service's package is not beside gotoni (share/gotoni/gotoni-tokenizer.tar.gz): "
                    + "make install-tokenizer puts it there, --package says where it is.")
        }
        guard Files.exists(file) else { throw CommandError("There is no package \(file).") }
        let digest = try await TokenizerService.files.run("digest", [file], doing: "Reading \(file)")
        package = Parcel(place: "package", file: file, hash: digest.value("hash") ?? "", bytes: Files.size(file))
        parcels = [package]
        folder = try Files.temporaryFolder()
        do throws(CommandError) {
            for model in models { try await add(model) }
        } catch {
            removeFiles()
            throw error
        }
    }

    func removeFiles() { try? FileManager.default.removeItem(atPath: folder) }

    private mutating func add(_ given: String) async throws(CommandError) {
        let parts = Files.exists(given) ? [] : given.split(separator: "=", maxSplits: 1).map(String.init)
        let path = parts.count == 2 ? parts[1] : given
        guard Files.exists(path) else {
            guard !["/", ".", "~"].contains(where: path.hasPrefix) else {
                throw CommandError("There is no model \(path) here.")
            }
            models.append(.named(given))
            return
        }
        let file = "\(folder)/\(parcels.count)"
        let packed = try await TokenizerService.files.run("pack", [path, file], doing: "Packing \(path)")
        let real = URL(filePath: packed.value("folder") ?? path).lastPathComponent
        let name = parts.count == 2 ? parts[0] : real
        let place = "models/" + name.replacing("/", with: "--")
        guard name.wholeMatch(of: /[A-Za-z0-9_][\w.\/-]*/) != nil else {
            throw CommandError(
                "\"\(name)\" is no name for a model; name it with NAME=\(path), in letters and digits.")
        }
        guard !parcels.contains(where: { $0.place == place }) else {
            throw CommandError("Two models are called \(name); name one with NAME=PATH.")
        }
        guard let hash = packed.value("hash"), packed.value("tokenizer") != nil else {
            throw CommandError("\(path) has neither a tokenizer.json nor a tokenizer.model.")
        }
        parcels.append(Parcel(place: place, file: file, hash: hash, bytes: Files.size(file)))
        if packed.value("needs") != nil { extras = "[sentencepiece]" }
        models.append(.sent(name: name, place: place + (packed.value("only").map { "/" + $0 } ?? "")))
    }

    /// Of the bytes that a service was started from and with: another label is another service.
    private func label(_ data: String) -> String {
        (parcels.map(\.hash) + models.map { $0.argument(data) }).joined(separator: " ")
    }

    /// What `service`'s machine lacks. Changes nothing there.
    func plan(for service: TokenizerService) async throws(CommandError) -> Plan {
        let found = try await service.run("probe", doing: "Looking what is there")
        let marks = Set(found.values("mark"))
        let data = found.value("data") ?? ""
        let send = parcels.filter { !marks.contains("\($0.hash) \($0.place).sha256") }
        let installs = !marks.contains("\(package.hash)\(extras) venv/installed")
        var report = try await service.judge(found)
        let isWanted = send.isEmpty && !installs && found.value("label") == label(data)
        let starts = !isWanted || report.status != .running
        var plan = Plan(
            send: send, installs: installs, stops: starts && report.pid != nil, starts: starts, report: report,
            data: data)
        if report.status == .running, report.pid == nil {
            throw CommandError("A tokenizer runs there that gotoni did not start (\(report.info)); stop it first.")
        }
        report.info = plan.steps.isEmpty ? "nothing to do" : "would " + plan.steps.joined(separator: ", ")
        plan.report = report
        return plan
    }

    func carryOut(_ plan: Plan, on service: TokenizerService, limit: Duration) async throws(CommandError)
        -> TokenizerReport
    {
        let machine = service.machine
        for parcel in plan.send {
            Progress.say("\(machine.name): sending \(parcel.place), \((parcel.bytes + 1023) / 1024) KB")
            _ = try await service.run(
                "receive", [parcel.place, parcel.hash], input: parcel.file,
                limit: .seconds(600),
                doing: "Sending \(parcel.place)")
        }
        if plan.installs {
            Progress.say("\(machine.name): installing")
            _ = try await service.run(
                "install_package", [package.hash + extras, extras], limit: .seconds(900),
                doing: "Installing with pip")
        }
        if plan.stops {
            Progress.say("\(machine.name): stopping what runs")
            _ = try await service.stop(limit: .seconds(15))
        }
        if plan.starts { Progress.say("\(machine.name): starting") }
        // Also what was left as it is has to answer.
        var (report, _) = try await service.start(
            models.map { $0.argument(plan.data) }, label: label(plan.data), limit: limit)
        report.info += plan.steps.isEmpty ? "; unchanged" : "; done: " + plan.steps.joined(separator: ", ")
        return report
    }
}
