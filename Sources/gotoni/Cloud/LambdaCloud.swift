import Foundation

/// Lambda Cloud's API, version 1 (OpenAPI document 1.8.3).
struct LambdaCloud: Cloud {
    let name = "lambda"
    let hasRulesets = true
    /// Lambda takes a request a second, and a launch every twelve (the OpenAPI document's introduction).
    private static let launchTurns = 12.0
    static let mostTries = 6

    let pause: Duration
    var place: HTTP.Place? { service.place }
    private let service: JSONService
    private let pace: RequestPace

    /// `key` is the API key. `interval`: seconds between requests.
    init(place: HTTP.Place, key: String, interval: Double) throws(CommandError) {
        service = JSONService(
            place: place, name: "Lambda", program: "Lambda Cloud",
            nobody: CommandError("Lambda does not answer at \(place)."),
            fields: [("authorization", "Bearer \(key)"), ("accept", "application/json")], limit: .seconds(30))
        pace = try RequestPace(name: "lambda", interval: interval)
        pause = .seconds(5 * interval)
    }

    // MARK: Requests

    private struct Envelope<Payload: Decodable>: Decodable { var data: Payload }

    /// Nobody knows whether it was done.
    static func isUnanswered(_ failure: JSONService.Failure) -> Bool {
        switch failure {
        case .http(.closed), .http(.timeout): true
        case .refused(let status, let problem):
            status >= 500 || problem?.error.code?.hasPrefix("provider/") == true
        case .http: false
        }
    }

    private static func isTooOften(_ failure: JSONService.Failure) -> Bool {
        if case .refused(429, _) = failure { true } else { false }
    }

    /// `repeats`: it may be asked twice.
    func call<Payload: Decodable>(
        _ method: HTTP.Method, _ path: String, _ body: Data? = nil, repeats: Bool, isLaunch: Bool = false
    ) async throws(JSONService.Failure) -> Payload? {
        var tries = 0
        while true {
            await pace.turn(isLaunch ? "launch" : nil, turns: isLaunch ? Self.launchTurns : 1)
            tries += 1
            do throws(JSONService.Failure) {
                let bytes = try await service.answer(method, "/api/v1" + path, body)
                let envelope: Envelope<Payload>? = try? service.decode(bytes)
                return envelope?.data
            } catch {
                let isPassing = Self.isTooOften(error) || repeats && Self.isUnanswered(error)
                guard tries < Self.mostTries, isPassing else { throw error }
                await pace.rest(afterTry: tries)
            }
        }
    }

    /// The same, with failures in words.
    func ask<Payload: Decodable>(
        _ method: HTTP.Method, _ path: String, _ body: (some Encodable)? = String?.none, repeats: Bool = true
    ) async throws(CommandError) -> Payload {
        let found: Payload?
        do throws(JSONService.Failure) {
            found = try await call(method, path, Self.encoded(body), repeats: repeats)
        } catch {
            throw sentence(error)
        }
        guard let found else { throw CommandError("What answers at \(service.place) is not Lambda Cloud.") }
        return found
    }

    func sentence(_ failure: JSONService.Failure) -> CommandError {
        var error = service.sentence(failure)
        if case .refused(_, let problem?) = failure, let code = problem.error.code {
            error.sentence += " (\(code))"
            switch code {
            case "instance-operations/launch/insufficient-capacity", "global/quota-exceeded": error.exitCode = 6
            // Comes with 400 as well as with 404.
            case "global/object-does-not-exist": error.exitCode = 5
            default: break
            }
        }
        if case .refused(401, _) = failure { error.sentence += " Is LAMBDA_API_KEY right?" }
        return error
    }

    static func encoded(_ body: (some Encodable)?) -> Data? {
        guard let body else { return nil }
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return try? encoder.encode(body)
    }

    // MARK: Types

    private struct TypeItem: Decodable {
        var instanceType: TypeDocument
        var regionsWithCapacityAvailable: [Region]
    }
    private struct TypeDocument: Decodable {
        struct Specs: Decodable {
            var vcpus: Int
            var memoryGib: Int
            var storageGib: Int
            var gpus: Int
        }
        var name: String
        var description: String
        var gpuDescription: String?
        var priceCentsPerHour: Int
        var specs: Specs
    }
    struct Region: Decodable { var name: String }

    func types() async throws(CommandError) -> [MachineType] {
        let found: [String: TypeItem] = try await ask(.get, "/instance-types")
        return found.values.map { item in
            let type = item.instanceType
            return MachineType(
                name: type.name, description: type.description, gpus: type.specs.gpus,
                gpuDescription: type.gpuDescription ?? type.description, vcpus: type.specs.vcpus,
                memoryGib: type.specs.memoryGib, storageGib: type.specs.storageGib,
                priceCentsPerHour: type.priceCentsPerHour,
                regions: item.regionsWithCapacityAvailable.map(\.name).sorted())
        }
        .cheapestFirst
    }

    // MARK: Machines

    private struct Tag: Codable {
        var key: String
        var value: String
    }
    private struct Instance: Decodable {
        var id: String
        var name: String?
        var status: String
        var ip: String?
        var privateIp: String?
        var region: Region
        var instanceType: TypeDocument
        var sshKeyNames: [String]
        var tags: [Tag]?
        var firewallRulesets: [RulesetEntry]?
    }
    private struct RulesetEntry: Codable { var id: String }
    /// Tags of ours; their names must match ^[a-z][a-z0-9-:]+$.
    private static let markTag = "gotoni-launch"
    private static let timeTag = "gotoni-launched-at"

    func machines() async throws(CommandError) -> [CloudMachine] {
        let found: [Instance] = try await ask(.get, "/instances")
        return found.map { instance in
            let tags = Dictionary((instance.tags ?? []).map { ($0.key, $0.value) }) { first, _ in first }
            return CloudMachine(
                id: instance.id, name: instance.name.flatMap { $0.isEmpty ? nil : $0 },
                type: instance.instanceType.name, region: instance.region.name,
                status: CloudMachine.Status(rawValue: instance.status) ?? .other, ip: instance.ip,
                privateIp: instance.privateIp, priceCentsPerHour: instance.instanceType.priceCentsPerHour,
                sshKeyNames: instance.sshKeyNames, launchedAt: tags[Self.timeTag].flatMap { Int($0) }, tags: tags,
                rulesets: (instance.firewallRulesets ?? []).map(\.id))
        }
    }

    private struct Launch: Encodable {
        struct Image: Encodable { var family: String }
        var regionName: String
        var instanceTypeName: String
        var sshKeyNames: [String]
        var fileSystemNames: [String]?
        var name: String
        var image: Image?
        var tags: [Tag]
        var firewallRulesets: [RulesetEntry]?
    }
    private struct Launched: Decodable { var instanceIds: [String] }

    func launch(_ order: LaunchOrder) async throws(CommandError) -> String {
        let own = [Self.markTag: order.mark, Self.timeTag: "\(order.time)"]
        let tags = order.tags.merging(own) { $1 }.sorted { $0.key < $1.key }
        let body = Self.encoded(
            Launch(
                regionName: order.region, instanceTypeName: order.type, sshKeyNames: order.key.map { [$0] } ?? [],
                fileSystemNames: order.fileSystem.map { [$0] }, name: order.name,
                image: order.imageFamily.map { .init(family: $0) },
                tags: tags.map { Tag(key: $0.key, value: $0.value) },
                firewallRulesets: order.ruleset.map { [RulesetEntry(id: $0)] }))
        for _ in 0..<3 {
            do throws(JSONService.Failure) {
                let answer: Launched? = try await call(
                    .post, "/instance-operations/launch", body, repeats: false, isLaunch: true)
                if let id = answer?.instanceIds.first { return id }
            } catch {
                guard Self.isUnanswered(error) else { throw sentence(error) }
                Progress.say("\(service.sentence(error)) Looking whether \(order.name) was launched.")
            }
            if let machine = try await machines().first(where: { $0.tags[Self.markTag] == order.mark }) {
                return machine.id
            }
        }
        throw CommandError("Lambda did not launch \(order.name), three times over, and did not say why.")
    }

    private struct IDs: Encodable { var instanceIds: [String] }
    struct Nothing: Decodable {}

    func restart(_ ids: [String]) async throws(CommandError) {
        let _: Nothing = try await ask(.post, "/instance-operations/restart", IDs(instanceIds: ids), repeats: false)
    }

    func terminate(_ ids: [String]) async throws(CommandError) {
        // One by one: a machine that is gone keeps no other alive.
        for (count, id) in ids.enumerated() {
            do throws(CommandError) {
                let _: Nothing = try await ask(.post, "/instance-operations/terminate", IDs(instanceIds: [id]))
            } catch {
                guard error.exitCode == 5 else {
                    guard count > 0 else { throw error }
                    throw CommandError(
                        "\(error.sentence) These go on:", lines: ids[count...].joined(separator: "\n"), exitCode: 7)
                }
            }
        }
    }

    /// The user of Lambda's images.
    private static let user = "ubuntu"

    func link(to machine: CloudMachine) -> MachineLink? {
        guard machine.status == .active, let ip = machine.ip else { return nil }
        // One that was launched with a key of somebody's own is reached as ssh does it by itself.
        let isOwn = machine.sshKeyNames.contains { $0.hasPrefix(OwnKey.prefix) }
        return .ssh(
            SSHHost(
                alias: "gotoni-\(machine.id)", address: ip, user: Self.user, identity: isOwn ? OwnKey.path : nil,
                isOnlyKey: isOwn))
    }

    private struct NewName: Encodable { var name: String }

    func rename(_ id: String, to name: String) async throws(CommandError) {
        let _: Nothing = try await ask(.post, "/instances/\(JSONService.quoted(id))", NewName(name: name))
    }

    // MARK: Keys

    private struct Key: Decodable {
        var id: String
        var name: String
        var publicKey: String
        var made: CloudKey { CloudKey(id: id, name: name, publicKey: publicKey) }
    }
    private struct NewKey: Encodable {
        var name: String
        var publicKey: String
    }

    func keys() async throws(CommandError) -> [CloudKey] {
        let found: [Key] = try await ask(.get, "/ssh-keys")
        return found.map(\.made)
    }

    func add(key name: String, publicKey: String) async throws(CommandError) -> CloudKey {
        let key: Key = try await ask(.post, "/ssh-keys", NewKey(name: name, publicKey: publicKey), repeats: false)
        return key.made
    }

    func delete(key id: String) async throws(CommandError) {
        let _: Nothing = try await ask(.delete, "/ssh-keys/\(JSONService.quoted(id))")
    }
}
