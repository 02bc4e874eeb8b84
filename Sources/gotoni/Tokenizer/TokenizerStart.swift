import ArgumentParser

struct TokenizerStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Start it, and wait until it answers. One that runs is left as it is.")

    @Option(
        help: ArgumentHelp(
            "A model's folder or tokenizer.json, a name of Hugging Face's, or of what was deployed; repeatable.",
            valueName: "[NAME=]PATH|NAME"))
    var model: [String]

    @Option(help: ArgumentHelp("gotoni-tokenizer, if it is neither beside gotoni nor in PATH.", valueName: "PATH"))
    var program: String?

    @Option(help: ArgumentHelp("How long to wait for it to be ready.", valueName: "TIME"))
    var timeout = WaitTime(seconds: 60)

    @OptionGroup var place: PlaceOptions

    func run() async throws {
        try await place.common.withMachines(place.hosts) { machines in
            let reports = await place.common.onEach(machines) {
                [model, program, timeout] service throws(CommandError) in
                var (report, wasRunning) = try await service.start(model, program: program, limit: timeout.duration)
                if wasRunning { report.info += "; it ran already" }
                return report
            }
            try place.common.finish(reports, wanting: .running) { report in
                let process = report.pid.map { ", process \($0)" } ?? ""
                let log = report.pid == nil ? "" : "; log: \(report.log ?? "")"
                return "gotoni-tokenizer listens on unix:\(report.socket ?? "") (model \(report.info))\(process)\(log)"
            }
        }
    }
}
