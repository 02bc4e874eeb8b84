import ArgumentParser

/// `gotoni tokenizer`: the service that tokenizes what the router cannot, here and on other machines.
struct Tokenizer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run gotoni-tokenizer, which counts tokens exactly, here or on machines that SSH reaches.",
        discussion: """
              gotoni tokenizer start --model /models/Qwen3-8B
              gotoni tokenizer test "How many tokens is this?"
              gotoni tokenizer deploy ubuntu@10.0.0.1 ubuntu@10.0.0.2 --model /models/Qwen3-8B
              gotoni tokenizer status --on ubuntu@10.0.0.1 ubuntu@10.0.0.2

            Exit status: 0 all is well, 1 failed or not running, 7 so on some machines only, 64 wrong arguments, 124 not \
            in time.
            """,
        subcommands: [
            TokenizerDeploy.self, TokenizerStart.self, TokenizerStop.self, TokenizerStatus.self, TokenizerTest.self,
        ])
}
