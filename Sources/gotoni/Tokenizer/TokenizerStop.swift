import ArgumentParser

struct TokenizerStop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End what start or deploy started, once what is under way is answered.")

    @Option(help: ArgumentHelp("How long to wait for it to end.", valueName: "TIME"))
    var timeout = WaitTime(seconds: 15)

    @OptionGroup var place: PlaceOptions

    func run() async throws {
        try await place.common.withMachines(place.hosts) { machines in
            let reports = await place.common.onEach(machines) { [timeout] service throws(CommandError) in
                try await service.stop(limit: timeout.duration)
            }
            try place.common.finish(reports, wanting: nil) { "gotoni-tokenizer: \($0.info)" }
        }
    }
}
