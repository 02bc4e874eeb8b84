import ArgumentParser

struct TokenizerStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Whether it runs, with which model, since when.",
        discussion: """
            running      it answers
            socket_only  there is a socket, and nobody answers on it
            starting     its process runs and does not answer yet
            not_running  neither
            error        the machine could not be asked

            Exit status: 0 if it runs on all machines, 7 on some, 1 on none.
            """)

    @OptionGroup var place: PlaceOptions

    func run() async throws {
        try await place.common.withMachines(place.hosts) { machines in
            let reports = await place.common.onEach(machines) { service throws(CommandError) in
                try await service.look()
            }
            try place.common.finish(reports, wanting: .running)
        }
    }
}
