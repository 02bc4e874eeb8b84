internal import CSimdjson

/// A JSON document whose root is an object, and its values by position. One thread at a time.
final class JSONDocument {
    private let handle: OpaquePointer

    /// `bytes` must outlive it.
    init(_ bytes: Bytes) throws(TokenizerError) {
        guard let handle = gotoni_json_document_create() else { throw .memory }
        self.handle = handle
        let status = gotoni_json_document_read(handle, bytes.baseAddress, bytes.count)
        guard status == 0 else {
            throw status == Int32(GOTONI_JSON_MEMORY) ? .memory : .notJSON
        }
    }

    deinit { gotoni_json_document_destroy(handle) }

    struct Value {
        fileprivate let position: gotoni_json_position
        static let none = Value(position: gotoni_json_position.max)
    }

    var root: Value { Value(position: 0) }

    enum Kind { case nothing, null, bool, number, string, array, object }

    func kind(_ value: Value) -> Kind {
        switch gotoni_json_kind(handle, value.position) {
        case 0: .nothing
        case UInt8(ascii: "n"): .null
        case UInt8(ascii: "t"), UInt8(ascii: "f"): .bool
        case UInt8(ascii: "\""): .string
        case UInt8(ascii: "["): .array
        case UInt8(ascii: "{"): .object
        default: .number
        }
    }

    /// Absent and null are the same.
    func isThere(_ value: Value) -> Bool {
        let kind = kind(value)
        return kind != .nothing && kind != .null
    }

    /// The field of an object; of a key that is there twice the last. `none` if there is no such field.
    func field(_ object: Value, _ name: StaticString) -> Value {
        var found = Value.none
        fields(object) { key, value in if key == name { found = value } }
        return found
    }

    /// The key is valid until the next string is read.
    func fields<Failure: Error>(_ object: Value, _ use: (Bytes, Value) throws(Failure) -> Void) throws(Failure) {
        guard kind(object) == .object else { return }
        var key = gotoni_json_first(handle, object.position)
        while key != gotoni_json_position.max {
            try use(string(Value(position: key)), Value(position: key + 2))
            key = gotoni_json_next(handle, key + 2)
        }
    }

    func elements<Failure: Error>(_ array: Value, _ use: (Value) throws(Failure) -> Void) throws(Failure) {
        guard kind(array) == .array else { return }
        var element = gotoni_json_first(handle, array.position)
        while element != gotoni_json_position.max {
            try use(Value(position: element))
            element = gotoni_json_next(handle, element)
        }
    }

    /// Valid until the next string is read; empty for anything else.
    func string(_ value: Value) -> Bytes {
        let text = gotoni_json_string(handle, value.position)
        return Bytes(start: text.bytes, count: text.size)
    }

    func isTrue(_ value: Value) -> Bool { gotoni_json_kind(handle, value.position) == UInt8(ascii: "t") }

    /// A whole number of at most 18 digits that is no less than zero.
    func count(_ value: Value) -> Int? {
        var number: UInt64 = 0
        return gotoni_json_whole(handle, value.position, &number) ? Int(number) : nil
    }
}
