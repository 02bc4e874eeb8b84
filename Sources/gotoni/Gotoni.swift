import ArgumentParser

@main
struct Gotoni: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gotoni", abstract: "Routes requests to LLM servers by what they would wait for.",
        version: "0.1.0", subcommands: [Simulate.self])
}
