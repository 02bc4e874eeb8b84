import ArgumentParser
import CGotoni

struct ShowVersion: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Which gotoni this is, and what it was made with.")

    @Flag(help: "Print JSON.") var json = false

    private struct Versions: Encodable {
        var gotoni = Gotoni.number
        /// Of the C library's interface, as libgotoni.so has it in its name.
        var abi = GOTONI_ABI_VERSION
        /// Of the compiler; there is no saying which patch of it.
        var swift = ShowVersion.swift
        var system = ShowVersion.system
    }

    #if compiler(>=6.4)
        private static let swift = "6.4 or newer"
    #elseif compiler(>=6.3)
        private static let swift = "6.3"
    #else
        private static let swift = "6.2"
    #endif

    #if arch(x86_64)
        private static let system = "linux x86_64"
    #elseif arch(arm64)
        private static let system = "linux aarch64"
    #else
        private static let system = "linux"
    #endif

    func run() throws {
        let versions = Versions()
        guard !json else { return print(try JSONText.of(versions)) }
        print("gotoni \(versions.gotoni) (C interface \(versions.abi), Swift \(versions.swift), \(versions.system))")
    }
}
