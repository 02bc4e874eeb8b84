import Foundation

/// Lambda has two spellings of their path: one to list them, one for all else.
extension LambdaCloud {
    private struct FileSystem: Decodable {
        struct User: Decodable { var email: String? }
        var id: String
        var name: String
        var region: Region
        var mountPoint: String
        var isInUse: Bool
        var bytesUsed: Int?
        var created: String
        var createdBy: User?

        var shown: CloudFileSystem {
            CloudFileSystem(
                id: id, name: name, region: region.name, mountPoint: mountPoint, isInUse: isInUse, bytesUsed: bytesUsed,
                created: created, createdBy: createdBy?.email)
        }
    }
    private struct NewFileSystem: Encodable {
        var name: String
        var region: String
    }

    func fileSystems() async throws(CommandError) -> [CloudFileSystem] {
        let found: [FileSystem] = try await ask(.get, "/file-systems")
        return found.map(\.shown)
    }

    /// Names are one of a kind: who finds it after a request that got no answer has made it.
    func create(fileSystem name: String, region: String) async throws(CommandError) -> CloudFileSystem {
        if let other = try await fileSystems().first(where: { $0.name == name }) {
            throw CommandError("There is a file system \"\(name)\" already, in \(other.region ?? "no region").")
        }
        let body = Self.encoded(NewFileSystem(name: name, region: region))
        for _ in 0..<3 {
            do throws(JSONService.Failure) {
                let made: FileSystem? = try await call(.post, "/filesystems", body, repeats: false)
                if let made { return made.shown }
            } catch {
                guard Self.isUnanswered(error) else { throw sentence(error) }
                Progress.say("\(sentence(error)) Looking whether \(name) was made.")
            }
            if let made = try await fileSystems().first(where: { $0.name == name }) { return made }
        }
        throw CommandError("Lambda did not make \(name), three times over, and did not say why.")
    }

    func delete(fileSystem id: String) async throws(CommandError) {
        do throws(CommandError) {
            let _: Nothing = try await ask(.delete, "/filesystems/\(JSONService.quoted(id))")
        } catch {
            // Gone already, maybe by a request of ours that got no answer.
            guard error.exitCode == 5 else { throw error }
        }
    }
}
