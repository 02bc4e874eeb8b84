import Foundation
import GotoniGateway
import GotoniTokenizer

/// What `--tokenizer` names, read from disk.
enum TokenizerFiles {
    /// `estimate`, or sources separated by commas: a path, `unix:SOCKET`, `engine`. `template`: a file in Jinja that stands
    /// for the model's own. Throws a sentence.
    static func sources(_ text: String, template: String?) throws -> [TokenSource] {
        if text == "estimate" { return [] }
        var sources: [TokenSource] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false).map({ String($0).trimmed }) {
            let source: TokenSource
            if part == "engine" {
                source = .engine
            } else if part.hasPrefix("unix:") {
                let socket = String(part.dropFirst(5))
                // The longest that the system takes.
                guard socket.hasPrefix("/"), socket.utf8.count <= 107 else {
                    throw ServiceError("\"\(part)\" is not unix:/PATH of at most 107 bytes")
                }
                source = .service(socket: socket)
            } else if part == "estimate" || part.isEmpty {
                throw ServiceError("\"\(text)\": estimate stands alone; the others are separated by commas")
            } else {
                source = .model(try tokenizer(part, template: template), path: part)
            }
            let kind = "\(source)".prefix { $0 != ":" && $0 != "/" }
            guard !sources.contains(where: { "\($0)".prefix { $0 != ":" && $0 != "/" } == kind }) else {
                throw ServiceError("\"\(text)\" has two tokenizers of one kind")
            }
            sources.append(source)
        }
        return sources
    }

    private static let names = ["tokenizer.json", "tekken.json", "qwen.tiktoken"]

    private static func tokenizer(_ path: String, template: String?) throws -> Tokenizer {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw ServiceError(
                "there is no tokenizer \(path); give a model's folder, its tokenizer.json, unix:SOCKET or engine")
        }
        var file = path
        if isFolder.boolValue {
            guard let name = names.first(where: { FileManager.default.fileExists(atPath: "\(path)/\($0)") }) else {
                throw ServiceError("\(path) has none of " + names.joined(separator: ", "))
            }
            file = "\(path)/\(name)"
        }
        let folder = isFolder.boolValue ? path : URL(fileURLWithPath: path).deletingLastPathComponent().path
        let name = URL(fileURLWithPath: file).lastPathComponent
        let format: Tokenizer.Format =
            name.hasSuffix(".tiktoken") ? .qwenTiktoken : name.hasPrefix("tekken") ? .tekken : .huggingFace
        let vocabulary = try read(file)
        let beside = format == .huggingFace
        let config = beside ? try? read("\(folder)/tokenizer_config.json") : nil
        let jinja = try template.map(read) ?? (beside ? try? read("\(folder)/chat_template.jinja") : nil)
        do {
            return try make(vocabulary, format, config, jinja)
        } catch {
            throw ServiceError("\(file): \(error.text)" + advice(error))
        }
    }

    private static func make(
        _ vocabulary: [UInt8], _ format: Tokenizer.Format, _ config: [UInt8]?, _ template: [UInt8]?
    ) throws(TokenizerError) -> Tokenizer {
        try Tokenizer(vocabulary.span, format, config: config?.span, template: template?.span)
    }

    private static func advice(_ error: TokenizerError) -> String {
        guard error.kind == .unsupported else { return "" }
        return "; start gotoni-tokenizer for it and give --tokenizer unix:SOCKET"
    }

    private static func read(_ path: String) throws -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: path) else { throw ServiceError("cannot read \(path)") }
        return Array(data)
    }
}
