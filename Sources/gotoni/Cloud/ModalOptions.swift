import ArgumentParser
import Foundation

/// Of Modal's account, for all commands that ask a cloud.
struct ModalOptions: ParsableArguments {
    @Option(
        name: .customLong("modal-env"),
        help: ArgumentHelp(
            "Its environment (default: $GOTONI_MODAL_ENV, $MODAL_ENVIRONMENT, the account's own).", valueName: "NAME"))
    var modalEnvironment: String?

    @Option(
        help: ArgumentHelp(
            "A Python with its SDK (default: $GOTONI_MODAL_PYTHON, uv, that of the program modal, python3).",
            valueName: "FILE"))
    var modalPython: String?

    var account: ModalAccount { ModalAccount(environment: modalEnvironment, python: modalPython) }
}

/// What was said of it on the command line.
struct ModalAccount: Sendable {
    var environment: String?
    var python: String?
}

/// What only sandboxes have.
struct SandboxOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How long it may live; then it ends by itself (default and longest: 24h).", valueName: "TIME"))
    var life: WaitTime?

    @Option(
        name: .customLong("port"),
        help: ArgumentHelp(
            "A port that an https tunnel leads to; repeat for more (default: 8000, 8080).", valueName: "N"))
    var ports: [UInt16] = []

    var isEmpty: Bool { life == nil && ports.isEmpty }
    /// In seconds.
    var lifeSeconds: Int { life.map { Int($0.duration.components.seconds) } ?? 86_400 }
    var tunnels: [Int] { ports.isEmpty ? [8000, 8080] : ports.map(Int.init) }
}
