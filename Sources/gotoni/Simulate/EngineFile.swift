import ArgumentParser
import Foundation
import GotoniSimulation

/// An engine's costs from a JSON file.
enum EngineFile {
    /// Says which key is missing, unknown or of the wrong kind: a misspelt cost would be another engine.
    static func read(_ data: Data, _ name: String) throws -> EngineModel {
        guard let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any] else {
            throw ValidationError("\(name) is neither an engine of --help nor a JSON object.")
        }
        let known = EngineModel.CodingKeys.allCases.map(\.rawValue)
        if let unknown = object.keys.sorted().first(where: { !known.contains($0) }) {
            throw ValidationError(
                "\(name): there is no \"\(unknown)\"; an engine has \(known.joined(separator: ", ")).")
        }
        if let missing = known.first(where: { object[$0] == nil }) {
            throw ValidationError("\(name): \"\(missing)\" is missing; an engine has \(known.joined(separator: ", ")).")
        }
        do {
            return try JSONDecoder().decode(EngineModel.self, from: data)
        } catch DecodingError.typeMismatch(_, let context), DecodingError.dataCorrupted(let context) {
            let key = context.codingPath.last?.stringValue ?? "something"
            throw ValidationError(
                "\(name): \(key) is not of the right kind (a number, whole for sizes, text for the name).")
        }
    }
}
