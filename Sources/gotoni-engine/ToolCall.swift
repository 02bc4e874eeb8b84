import FoundationEssentials

/// A function that a client offers.
struct Tool: Decodable {
    struct Function: Decodable {
        var name: String
        var parameters: Schema?
    }
    var function: Function?
}

/// The part of JSON Schema that is needed to make up a value.
struct Schema: Decodable {
    var type: String?
    var properties: [String: Schema]?
    var required: [String]?
    var `enum`: [JSONScalar]?

    enum CodingKeys: CodingKey { case type, properties, required, `enum` }

    /// What it does not understand, such as a list of types, it leaves out: a value is made up in any case.
    init(from decoder: any Decoder) throws {
        guard let keys = try? decoder.container(keyedBy: CodingKeys.self) else { return }
        type = try? keys.decode(String.self, forKey: .type)
        properties = try? keys.decode([String: Schema].self, forKey: .properties)
        required = try? keys.decode([String].self, forKey: .required)
        `enum` = try? keys.decode([JSONScalar].self, forKey: .enum)
    }

    /// A value of this kind, as JSON: all properties that are required, in the order of their names.
    func example(depth: Int = 0) -> String {
        if let first = `enum`?.first { return first.text }
        switch type {
        case "string": return "\"text\""
        case "integer": return "7"
        case "number": return "0.5"
        case "boolean": return "true"
        case "array": return "[]"
        case "null": return "null"
        default:
            // Deeper than this nobody asks.
            guard let properties, depth < 8 else { return "{}" }
            // A name that is there twice is one: the text is no longer than the schema.
            let names = Set(required ?? Array(properties.keys)).sorted()
            let members = names.map { "\(quoted($0)):\(properties[$0]?.example(depth: depth + 1) ?? "{}")" }
            return "{\(members.joined(separator: ","))}"
        }
    }
}

enum JSONScalar: Decodable {
    case string(String)
    case number(Double)
    case bool(Bool)
    case null

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else {
            self = .string(try value.decode(String.self))
        }
    }

    var text: String {
        switch self {
        case .string(let string): quoted(string)
        case .number(let number): Int(exactly: number).map(String.init) ?? "\(number)"
        case .bool(let bool): "\(bool)"
        case .null: "null"
        }
    }
}

/// `tool_choice`: a word, or the function by name.
enum ToolChoice: Decodable {
    case word(String)
    case function(String)

    private struct Named: Decodable {
        struct Function: Decodable { var name: String }
        var function: Function
    }

    init(from decoder: any Decoder) throws {
        if let word = try? decoder.singleValueContainer().decode(String.self) {
            self = .word(word)
        } else {
            self = .function(try Named(from: decoder).function.name)
        }
    }
}

/// The call of a function as the answer.
struct ToolCall {
    var name: String
    /// The arguments, cut into what is one token each.
    var pieces: [String]

    /// Nil unless the client insists on a call: without that a model may answer in words, and this one does.
    init?(_ tools: [Tool], _ choice: ToolChoice?) throws(Refusal) {
        let functions = tools.compactMap(\.function)
        let function: Tool.Function?
        switch choice {
        case .word("required"): function = functions.first
        case .function(let name): function = functions.first { $0.name == name }
        case .word, nil: return nil
        }
        guard let function else { throw Refusal("tool_choice asks for a function that is not among tools") }
        name = function.name
        var (pieces, piece) = ([String](), "")
        for character in function.parameters?.example() ?? "{}" {
            piece.append(character)
            if piece.utf8.count >= 4 {
                pieces.append(piece)
                piece = ""
            }
        }
        self.pieces = piece.isEmpty ? pieces : pieces + [piece]
    }
}
