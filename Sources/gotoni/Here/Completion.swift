import ArgumentParser

struct Completion: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "A script that completes gotoni's commands in a shell.",
        discussion: """
            bash:  gotoni completion bash > ~/.local/share/bash-completion/completions/gotoni
            zsh:   gotoni completion zsh > FOLDER/_gotoni, a folder of $fpath
            fish:  gotoni completion fish > ~/.config/fish/completions/gotoni.fish
            """)

    enum Shell: String, CaseIterable, ExpressibleByArgument {
        case bash, zsh, fish
    }

    @Argument(help: "For which shell.") var shell: Shell

    func run() {
        let known: CompletionShell =
            switch shell {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        print(Gotoni.completionScript(for: known))
    }
}
