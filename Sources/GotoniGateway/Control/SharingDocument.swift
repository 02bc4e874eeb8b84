/// How it stands with other proxies, in /proxy/status.
struct SharingDocument: Encodable {
    /// Without users and passwords.
    var nats: String
    var group: String
    /// This one's name among them.
    var proxy: String
    var connected: Bool
    /// What is wrong now.
    var trouble: OrNull<String>
    /// Other proxies that were heard lately.
    var siblings: Int
    /// From the first connection until what the others had told before was applied; null: not yet.
    var catchUpMs: OrNull<Double>
    var promptsTold: UInt64
    var promptsHeard: UInt64
    var promptsLost: UInt64
    var messagesTold: UInt64
    var messagesHeard: UInt64
    var bytesTold: UInt64
    var bytesHeard: UInt64
    /// Of what was told of prompts; null: nothing yet.
    var bytesPerPrompt: OrNull<Double>
    var bytesPerBlock: OrNull<Double>
    var messagesBehind: Int
    /// Messages that followed nothing that was heard, could not be read, or were dropped.
    var gaps: UInt64
    var unreadable: UInt64
    var dropped: UInt64
    var reconnects: UInt64

    init(_ sharing: Sharing) {
        let figures = sharing.figures
        nats = sharing.configuration.servers
        group = sharing.configuration.group
        proxy = sharing.name
        (connected, trouble) = (figures.isConnected, OrNull(figures.trouble.isEmpty ? nil : figures.trouble))
        (siblings, catchUpMs) = (figures.siblings, OrNull(figures.catchUpMs.map(rounded)))
        (promptsTold, promptsHeard, promptsLost) = (figures.promptsTold, figures.promptsHeard, figures.promptsLost)
        (messagesTold, messagesHeard) = (figures.messagesTold, figures.messagesHeard)
        (bytesTold, bytesHeard) = (figures.bytesTold, figures.bytesHeard)
        func share(_ count: UInt64) -> OrNull<Double> {
            OrNull(count == 0 ? nil : rounded(Double(figures.promptBytesTold) / Double(count)))
        }
        (bytesPerPrompt, bytesPerBlock) = (share(figures.promptsTold), share(figures.blocksTold))
        messagesBehind = figures.behind
        (gaps, unreadable, dropped, reconnects) = (
            figures.gaps, figures.unreadable, figures.dropped, figures.reconnects
        )
    }
}
