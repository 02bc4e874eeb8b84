import ArgumentParser

struct Copy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp", abstract: "Copy files to a machine or from it.",
        discussion: """
            Example:
              gotoni cp model.gguf node-a:models/
            """)

    @Argument(
        help: ArgumentHelp("What is copied, and where it is put; MACHINE:PATH is a machine's.", valueName: "FROM … TO"))
    var places: [String]
    @Flag(name: [.customShort("r"), .long], help: "Folders, with all that is in them.") var recursive = false
    @OptionGroup var machines: MachineOptions

    /// MACHINE:PATH; nil: a file here. As scp has it, a colon behind a slash is a file's.
    private static func split(_ place: String) -> (machine: String, path: String)? {
        guard let colon = place.firstIndex(of: ":"), colon != place.startIndex, !place[..<colon].contains("/") else {
            return nil
        }
        return (String(place[..<colon]), String(place[place.index(after: colon)...]))
    }

    func validate() throws {
        guard places.count > 1 else { throw ValidationError("Say what is copied, and where it is put.") }
        guard places.contains(where: { Self.split($0) != nil }) else {
            throw ValidationError("Neither is on a machine; name that as MACHINE:PATH.")
        }
    }

    func run() async throws {
        let names = Array(Set(places.compactMap { Self.split($0)?.machine }))
        let found = Dictionary(zip(names, try await machines.find(names))) { first, _ in first }
        let words = try places.map { place in
            guard let (name, path) = Self.split(place) else { return place.hasPrefix("-") ? "./" + place : place }
            guard let target = found[name]?.link.target else {
                throw CommandError("\(name) is a sandbox without ssh, and not reached by scp.", exitCode: 2)
            }
            return "\(target):\(path)"
        }
        try machines.become(["scp"] + (recursive ? ["-r"] : []) + ["--"] + words, Array(found.values))
    }
}
