/// Names of clusters.
enum ClusterName {
    /// Of a machine that belongs to one.
    static let tag = "gotoni-cluster"
    /// With a region's name behind it a ruleset's name has 64 characters at most.
    private static let longest = 40

    static func check(_ name: String) throws(CommandError) {
        let isKnown = name.utf8.allSatisfy { byte in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 45
        }
        guard isKnown, (1...longest).contains(name.utf8.count), !name.hasPrefix("-") else {
            throw CommandError(
                "\"\(name)\" is no name of a cluster: letters, digits and hyphens, \(longest) at most.", exitCode: 2)
        }
    }
}

extension CloudMachine {
    /// The cluster it was launched for.
    var cluster: String? { tags[ClusterName.tag] }
}
