import FoundationEssentials

/// One sentence about what is wrong with what was asked for.
struct Refusal: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// JSON objects with a closed set of keys, for a misspelt one would be silently without effect.
enum JSONObject {
    private struct Name: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    private struct Names: Decodable {
        var names: [String]
        init(from decoder: any Decoder) throws {
            names = try decoder.container(keyedBy: Name.self).allKeys.map(\.stringValue)
        }
    }

    /// `what` names the thing in errors; of the `required` keys none may be missing.
    static func read<Value: Decodable>(
        _ json: Data, what: String, known: [String], required: [String] = []
    ) throws(Refusal) -> Value {
        let decoder = JSONDecoder()
        guard let names = try? decoder.decode(Names.self, from: json).names else {
            throw Refusal("\(what) must be a JSON object")
        }
        if let unknown = names.sorted().first(where: { !known.contains($0) }) {
            throw Refusal("there is no \"\(unknown)\"; \(what) has \(known.joined(separator: ", "))")
        }
        if let missing = required.first(where: { !names.contains($0) }) {
            throw Refusal("\"\(missing)\" is missing; \(what) has \(known.joined(separator: ", "))")
        }
        do {
            return try decoder.decode(Value.self, from: json)
        } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
            DecodingError.dataCorrupted(let context)
        {
            throw Refusal("\(context.codingPath.last?.stringValue ?? what) is not of the right kind")
        } catch {
            throw Refusal("\(what) cannot be read")
        }
    }
}

/// `text` as a JSON string.
func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case _ where scalar.value < 0x20:
            let hex = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
