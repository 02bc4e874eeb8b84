/// What machines of a region can share, and what outlives them.
struct CloudFileSystem: Encodable, Sendable {
    var id: String
    var name: String
    /// Nil: machines of all regions can have it.
    var region: String?
    var mountPoint: String
    var isInUse: Bool
    /// About so many; the cloud counts now and then.
    var bytesUsed: Int?
    /// As ISO 8601 has it.
    var created: String
    var createdBy: String?

    /// In thousands, as clouds sell it.
    var size: String {
        guard let bytesUsed else { return "-" }
        let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)]
        guard let unit = units.first(where: { Double(bytesUsed) >= $0.1 }) else { return "\(bytesUsed) B" }
        return (Double(bytesUsed) / unit.1).text(1) + " " + unit.0
    }
}

extension Array<CloudFileSystem> {
    /// The one of this name or id.
    func one(named name: String) throws(CommandError) -> CloudFileSystem {
        guard let found = first(where: { $0.id == name }) ?? first(where: { $0.name == name }) else {
            throw CommandError("There is no file system \"\(name)\"; gotoni filesystems shows all.", exitCode: 5)
        }
        return found
    }
}
