import NIOHTTP1

/// A request on its way to its answer.
final class Exchange {
    let connection: Connection
    var request: Request
    /// When it is at the engine, in nanoseconds.
    var arrived: UInt64 = 0
    /// A job for each sample, with its prompt until the engine has it.
    var jobs: [(id: Int, prompt: Blocks.Prompt?)] = []
    /// Tokens that each job is to generate.
    var outputTokens = 1
    var answer: Answer?
    /// A fault: chunks until the connection is closed.
    var chunksUntilCut: Int?
    var hasBegun = false
    /// The client has left, or the connection was cut: nothing is to be sent.
    var isOver = false

    let keepAlive: Bool

    init(_ connection: Connection, _ request: Request) {
        self.connection = connection
        self.request = request
        // Without chunks the end of the connection is the end of the answer.
        keepAlive = request.head.isKeepAlive && request.isChunkable
    }
}
