import Foundation

/// A cluster as it was set up: what is needed to find it again, kept in a file for this user only. Its machines are the
/// cloud's to tell.
struct Cluster: Codable, Sendable {
    /// Of the file.
    static let schema = 1

    struct Member: Codable, Sendable {
        var name: String
        /// What finds the machine: its id, or what ssh calls it.
        var key: String
        /// Where its programs listen, and by which the other machines reach them.
        var listen: String
        var address: String
        var region: String
        /// Of a sandbox: its ports, and where the others reach them.
        var tunnels: [String: String]?

        var isSandbox: Bool { tunnels != nil }
    }

    struct Engine: Codable, Sendable, Equatable {
        var kind: EngineKind
        var port: Int
        var model: String?
        var image: String?
        /// GPUs that work on one request.
        var tensorParallel: Int
        /// For the engine, as they are.
        var arguments: [String]
    }

    struct Balancer: Codable, Sendable, Equatable {
        var port: Int
        var strategy: String
        var maxConcurrent: Int
        var runningThreshold: Int
    }

    struct CentralProxy: Codable, Sendable {
        /// The member it runs on.
        var key: String
        var port: Int
    }

    var schema = Cluster.schema
    var name: String
    var provider: String?
    var members: [Member]
    var engine: Engine
    var balancer: Balancer
    var proxy: CentralProxy?
    /// Nodes know one another by it.
    var meshKey: String
    /// Who has it may use control endpoints.
    var adminToken: String

    // MARK: Files

    static var folder: String { Files.configuration + "/clusters" }

    static func path(_ name: String) -> String { "\(folder)/\(name).json" }

    /// All that were set up from here.
    static func names() -> [String] {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return files.filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }.sorted()
    }

    /// Nil: there is none of that name.
    static func read(_ name: String) throws(CommandError) -> Cluster? {
        try ClusterName.check(name)
        guard Files.exists(path(name)) else { return nil }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard let bytes = FileManager.default.contents(atPath: path(name)),
            let cluster = try? decoder.decode(Cluster.self, from: bytes), cluster.schema == schema
        else { throw CommandError("\(path(name)) is no cluster of this version of gotoni.") }
        return cluster
    }

    /// The one of this name, or the only one. Errors: 5.
    static func named(_ name: String?) throws(CommandError) -> Cluster {
        let known = names()
        guard let name = name ?? (known.count == 1 ? known.first : nil) else {
            throw CommandError(
                known.isEmpty
                    ? "No cluster was set up from here; gotoni cluster setup does that."
                    : "There are \(known.count) clusters; name one with --cluster: \(known.joined(separator: ", ")).",
                exitCode: known.isEmpty ? 5 : 2)
        }
        guard let cluster = try read(name) else {
            throw CommandError("No cluster \"\(name)\" was set up from here.", exitCode: 5)
        }
        return cluster
    }

    func write() throws(CommandError) {
        try Files.makeFolder(Self.folder)
        let text: String
        do { text = try JSONText.of(self) } catch { throw CommandError("The cluster cannot be written: \(error)") }
        try Files.write(text + "\n", to: Self.path(name))
    }

    /// Clusters of this provider of which no machine runs are not known any more.
    static func forget(of provider: String, unless runs: (String) -> Bool) throws(CommandError) {
        for name in names() {
            guard let cluster = try? read(name), cluster.provider == provider,
                !cluster.members.contains(where: { runs($0.key) || $0.key.contains("@") })
            else { continue }
            do { try FileManager.default.removeItem(atPath: path(name)) } catch {
                throw CommandError("\(path(name)) cannot be removed: \(error.localizedDescription)")
            }
        }
    }

    // MARK: Places

    /// HOST:PORT of a program of `member`, on the machine itself.
    static func place(_ member: Member, _ port: Int) -> String {
        let host = member.listen == anywhere ? "127.0.0.1" : member.listen
        return (host.contains(":") ? "[\(host)]" : host) + ":\(port)"
    }

    /// Every address of a machine.
    static let anywhere = "0.0.0.0"

    /// The cluster, of those that were set up from here, of which the machine with this key has a part.
    static func having(_ key: String) -> Cluster? {
        // A file of another version knows nothing for us.
        names().lazy.compactMap { try? read($0) }.first { cluster in
            cluster.proxy?.key == key || cluster.members.contains { $0.key == key }
        }
    }

    /// The host, on the machine itself, at which its programs are reached.
    func host(on key: String) -> String {
        let listen = members.first { $0.key == key }?.listen ?? Self.anywhere
        return listen == Self.anywhere ? "127.0.0.1" : listen
    }

    /// http://HOST:PORT of a program of `member`, for the other machines.
    static func url(_ member: Member, _ port: Int) -> String {
        if let tunnel = member.tunnels?["\(port)"] { return tunnel }
        return "http://" + (member.address.contains(":") ? "[\(member.address)]" : member.address) + ":\(port)"
    }

    /// 256 bits by chance.
    static func secret() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<4).map { _ in String(generator.next(), radix: 16) }
            .map { String(repeating: "0", count: 16 - $0.count) + $0 }.joined()
    }

    /// What programs are told that nobody else may see, as a shell reads it.
    var secrets: String {
        "GOTONI_MESH_KEY=\(SSH.quoted(meshKey))\nGOTONI_ADMIN_TOKEN=\(SSH.quoted(adminToken))\n"
    }
}
