/// Everything that can go wrong, as a small closed set.
///
/// The raw values are the C library's status codes (`include/gotoni.h`, section Status), so an error crosses the C
/// boundary as itself. The sentence for people is `text`.
public enum RouterError: Int32, Error, Sendable, CaseIterable {
    case argument = -1
    case range = -2
    case unknownServer = -3
    case duplicateServer = -4
    case noServer = -5
    case saturated = -6
    case capacity = -7
    case ticket = -8
    case ticketEnded = -9
    case unknownPolicy = -10
    case unknownKnob = -11
    case buffer = -12
    case blockSize = -13
    case unknownParent = -14
    case snapshot = -15
    case snapshotVersion = -16
    case memory = -17
    case corrupt = -18
    case untunable = -19

    /// What happened and what to do, in one sentence.
    public var text: StaticString {
        switch self {
        case .argument: "an argument is missing or has an unknown value; see the function's description"
        case .range: "a number is outside its bounds, negative, or not a number; nothing was changed"
        case .unknownServer: "no server has this id; add it first"
        case .duplicateServer: "a server with this id exists already; update or remove it"
        case .noServer: "no server may take this request; add one, mark one up, or exclude fewer"
        case .saturated: "every server is at its request limit; wait for one to finish, then try again"
        case .capacity: "a configured bound is reached; raise it or free something"
        case .ticket: "this router never issued such a ticket"
        case .ticketEnded: "the ticket has ended: it was finished, its server was removed, or it was silent too long"
        case .unknownPolicy: "no policy has this name or number; list them"
        case .unknownKnob: "no knob has this name or number; list them"
        case .buffer: "the array is too small; grow it to the size that was returned and call again"
        case .blockSize:
            "the engine's block size is not a multiple of the router's block_tokens; choose a divisor of it"
        case .unknownParent: "the event continues a block that is not known, so events were lost; clear and replay"
        case .snapshot: "these bytes are not a snapshot or are damaged; start without it"
        case .snapshotVersion: "the snapshot has another format version or block size; start without it"
        case .memory: "the system gave no memory"
        case .untunable: "the policy in force has no weights to tune; choose gorgo or predictive, with weights above 0"
        case .corrupt: "an internal inconsistency was found; please report this defect"
        }
    }
}
