/// Command lines of the first gotoni that are spelled otherwise by now, or that are no more.
enum FormerCommands {
    private static let spellings: [(was: [String], now: [String])] = [
        (["sglang", "setup-cluster"], ["cluster", "setup"]),
        (["sglang", "deploy-servers"], ["cluster", "restart-engine"]),
        (["sglang", "diagnose"], ["cluster", "doctor"]),
        (["sglang", "test-endpoints"], ["cluster", "status"]),
        (["cluster", "start-tokenizer"], ["tokenizer", "start"]),
        (["cluster", "tokenizer-status"], ["tokenizer", "status"]),
    ]

    /// Why there is none, and what there is instead.
    private static let ended = [
        "open":
            "gotoni ssh-config --install tells ssh the machines' names, and so every editor that opens folders over ssh.",
        "share": "Private keys stay where they were made; gotoni keys add gives a cloud a colleague's public key.",
        "receive": "Private keys stay where they were made; gotoni keys add gives a cloud your public key.",
        "tasks": "Commands on machines are run by gotoni run, from a script of yours.",
        "provision": "Commands on machines are run by gotoni run, from a script of yours.",
        "sync": "gotoni keeps no database; the cloud is asked each time.",
        "status": "gotoni cluster status looks at machines, gotoni list names them.",
        "gpu": "gotoni run MACHINE -- nvidia-smi --query-gpu=memory.used --format=csv -l 1",
        "build": "make bin builds the programs, gotoni cluster upload sends them.",
        "check": "gotoni cluster doctor looks at drivers and images where they run.",
        "update": "Programs are updated by what has installed them.",
        "lb-deploy": "gotoni cluster setup starts balancers.",
        "lb-remote-status": "gotoni lb status --remote MACHINE",
        "lb-remote-stop": "gotoni cluster stop-lb",
    ]

    /// The words as they are spelled now. Errors: 2, a command that is no more.
    static func current(_ words: [String]) throws(CommandError) -> [String] {
        if let first = words.first, let advice = ended[first] {
            throw CommandError("There is no gotoni \(first) any more. \(advice)", exitCode: 2)
        }
        guard let found = spellings.first(where: { words.starts(with: $0.was) }) else { return words }
        return found.now + words.dropFirst(found.was.count)
    }
}
