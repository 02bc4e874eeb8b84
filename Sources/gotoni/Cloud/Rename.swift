import ArgumentParser

struct Rename: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Give a machine another name.")

    @Argument(help: "A machine's name, its id, or how that begins.") var name: String
    @Argument(help: "Its new name, of 64 characters at most.") var new: String
    @OptionGroup var options: CloudOptions

    func validate() throws {
        guard (1...64).contains(new.count) else { throw ValidationError("A name has from 1 to 64 characters.") }
    }

    func run() async throws {
        let cloud = try options.cloud()
        let machines = try await cloud.machines()
        let machine = try machines.one(named: name)
        // Two of one name could only be told apart by their ids.
        guard !machines.contains(where: { $0.isRunning && $0.name == new && $0.id != machine.id }) else {
            throw CommandError("There is a machine \"\(new)\" already.", exitCode: 2)
        }
        try await cloud.rename(machine.id, to: new)
        if options.json { return print(try JSONText.of(["id": machine.id, "name": new])) }
        print("\(machine.label): now \(new)")
    }
}
