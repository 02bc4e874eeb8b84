import Foundation

/// The key by which machines are reached: made here once, its public half given to clouds.
enum OwnKey {
    private static var folder: String { Files.configuration + "/keys" }
    static var path: String { folder + "/id_ed25519" }
    /// Of what clouds call it.
    static let prefix = "gotoni-"

    /// What the cloud calls it; it gets it where it lacks it.
    static func name(in cloud: any Cloud) async throws(CommandError) -> String {
        let own = try await publicKey()
        // What follows is a comment.
        let words = own.split(separator: " ").prefix(2)
        let known = try await cloud.keys()
        if let key = known.first(where: { $0.publicKey.split(separator: " ").prefix(2) == words }) { return key.name }
        let name = prefix + String(words.last?.suffix(12).filter { $0.isLetter || $0.isNumber } ?? "key")
        Progress.say("giving \(cloud.name) the key \(name)")
        return try await cloud.add(key: name, publicKey: own).name
    }

    private static func publicKey() async throws(CommandError) -> String {
        if !Files.exists(path) {
            try Files.makeFolder(folder)
            let made = try await Program(
                name: "ssh-keygen", arguments: ["-q", "-t", "ed25519", "-N", "", "-C", "gotoni", "-f", path]
            )
            .run(limit: .seconds(20))
            guard made.status == 0 else { throw CommandError("ssh-keygen made no key:", lines: made.errors) }
        }
        guard let text = try? String(contentsOfFile: path + ".pub", encoding: .utf8) else {
            throw CommandError("\(path).pub cannot be read.")
        }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
