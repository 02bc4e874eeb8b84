import ArgumentParser
import Foundation

/// Which cloud, and how answers are printed.
struct CloudOptions: ParsableArguments {
    @Option(
        name: [.customShort("p"), .long],
        help: ArgumentHelp(
            "lambda, modal or static (default: $GOTONI_CLOUD, or whose credentials are there).", valueName: "NAME"))
    var provider: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup(title: "Modal") var modal: ModalOptions

    func cloud() throws -> any Cloud { try Provider.cloud(provider, modal.account) }
}

/// Of commands that cost or destroy something.
struct ConsentOptions: ParsableArguments {
    @Flag(name: [.customShort("y"), .long], help: "Do not ask.")
    var yes = false

    /// Asks on the terminal. Errors: no, or nobody to ask.
    func ask(_ question: String) throws(CommandError) {
        guard !yes else { return }
        guard isatty(0) == 1 else {
            throw CommandError("\(question) Say --yes where nobody can be asked.", exitCode: 2)
        }
        FileHandle.standardError.write(Data("\(question) [y/N] ".utf8))
        guard let answer = readLine()?.lowercased(), answer == "y" || answer == "yes" else {
            throw CommandError("Nothing was done.")
        }
    }
}
