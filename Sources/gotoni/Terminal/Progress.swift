import Foundation

enum Progress {
    /// What is going on, for people: on standard error.
    static func say(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }
}
