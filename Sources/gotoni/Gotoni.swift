import ArgumentParser

@main
struct Gotoni: AsyncParsableCommand {
    static let number = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "gotoni", abstract: "Routes requests to LLM servers by what they would wait for.",
        version: number, subcommands: [Simulate.self, Tokenizer.self])
}
