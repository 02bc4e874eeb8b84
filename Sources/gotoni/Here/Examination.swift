import Foundation

/// What `doctor` looks at without asking anybody else.
enum Examination {
    /// The first OpenSSH that can take new host keys and refuse changed ones.
    private static let oldestSSH = (7, 6)

    static func ssh() async -> Finding {
        guard LocalProgram.inPath("ssh") != nil else {
            return .bad("ssh", "missing", "Install OpenSSH's client (Debian and Ubuntu: apt install openssh-client).")
        }
        let answer: Program.Answer
        do throws(CommandError) {
            answer = try await Program(name: "ssh", arguments: ["-V"]).run(limit: .seconds(10))
        } catch {
            return .bad("ssh", error.sentence, "Install OpenSSH's client.")
        }
        // OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024
        let line = (answer.errors + answer.output).split(separator: "\n").first.map(String.init) ?? ""
        let name = line.prefix { $0 != " " && $0 != "," }
        let numbers = name.split(separator: "_").last?.split { !$0.isNumber }.prefix(2).compactMap { Int($0) } ?? []
        guard name.hasPrefix("OpenSSH_"), numbers.count == 2 else {
            return .bad(
                "ssh", line.isEmpty ? "says no version" : line, "Install OpenSSH's client; other ones are not known.")
        }
        guard (numbers[0], numbers[1]) >= oldestSSH else {
            return .bad("ssh", String(name), "Install OpenSSH \(oldestSSH.0).\(oldestSSH.1) or newer.")
        }
        return .good("ssh", String(name))
    }

    static func program(_ name: String, of package: String) -> Finding {
        guard let path = LocalProgram.inPath(name) else {
            return .bad(name, "missing", "Install it; it is part of \(package).")
        }
        return .good(name, path)
    }

    /// gotoni's own programs, which `lb start` and `proxy start` run; machines can be rented without.
    static func programs() -> [Finding] {
        ["gotoni-lb", "gotoni-proxy"].map { name in
            do throws(CommandError) {
                return .good(name, try LocalProgram.own(name))
            } catch {
                return .good(name, "missing", "Only to run it here: make install.")
            }
        }
    }

    /// The folder of keys and known hosts, and the key in it: for nobody else.
    static func folder() -> [Finding] {
        let folder = Files.configuration
        guard Files.exists(folder) else { return [.good("folder", "\(folder): made when needed")] }
        return [("folder", folder), ("own key", OwnKey.path)].filter { Files.exists($0.1) }.map { check, path in
            guard isPrivate(path) else {
                return .bad(check, "\(path): others may read it", "chmod go= \(SSH.quoted(path))")
            }
            return .good(check, path)
        }
    }

    static func isPrivate(_ path: String) -> Bool {
        let found = (try? FileManager.default.attributesOfItem(atPath: path))?[.posixPermissions] as? Int
        return found.map { $0 & 0o077 == 0 } ?? false
    }

    static func settings() -> Finding {
        do throws(CommandError) {
            _ = try Settings.load()
            let files = [Settings.ownFile, Settings.userFile].filter(Files.exists)
            return .good("settings", files.isEmpty ? "no file" : files.joined(separator: ", "))
        } catch {
            return .bad("settings", error.sentence, "Correct the file.")
        }
    }
}
