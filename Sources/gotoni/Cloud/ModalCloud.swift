import Foundation

/// Sandboxes of Modal's: containers with GPUs that end after a day at most, are reached over tunnels and have no SSH.
struct ModalCloud: Cloud {
    let name = "modal"
    let rentsSandboxes = true
    let pause = Duration.seconds(2)

    /// Both are Ubuntu 22.04; B200 needs CUDA 12.8.
    private static let image = "nvidia/cuda:12.8.1-runtime-ubuntu22.04"
    private static let imageWithoutGPU = "ubuntu:22.04"
    /// Where a volume is, and the variable that says so.
    private static let volumePath = "/modal-volume"
    private static let volumeVariable = "VOLUME_PATH"
    /// For what asks Modal alone.
    private static let brief = Duration.seconds(60)
    /// For the tunnels of a sandbox that may not have started yet.
    private static let tunnelsLimit = Duration.seconds(2)

    /// Tags of ours; the helper adds gotoni-name, gotoni-type and gotoni-region.
    private static let markTag = "gotoni-launch"
    private static let timeTag = "gotoni-launched-at"
    private static let priceTag = "gotoni-cents-per-hour"

    private let helper: ModalHelper
    private let app: String
    private let environment: String?

    /// `environment` nil: the account's own.
    init(app: String, environment: String?, python: String?) {
        helper = ModalHelper(python: python)
        self.app = app
        self.environment = environment
    }

    private func ask<Answer: Decodable & Sendable>(
        _ operation: String, _ arguments: some Encodable & Sendable, limit: Duration = brief
    ) async throws(CommandError) -> Answer {
        do throws(ModalHelper.Failure) {
            return try await helper.ask(operation, arguments, limit: limit)
        } catch {
            throw error.sentence
        }
    }

    // MARK: Types

    private struct Nothing: Codable {}
    private struct Rates: Decodable { var rates: [String: String] }

    /// Empty where the SDK is too old to ask for them.
    private func rates() async throws(CommandError) -> [String: Double] {
        do throws(ModalHelper.Failure) {
            let found: Rates = try await helper.ask("rates", Nothing(), limit: Self.brief)
            return found.rates.compactMapValues { Double($0) }
        } catch {
            guard error.code == "invalid" else { throw error.sentence }
            return [:]
        }
    }

    func types() async throws(CommandError) -> [MachineType] {
        let rates = try await rates()
        return ModalType.all.map { $0.machineType(rates) }.cheapestFirst
    }

    func offer(_ type: String, in region: String) async throws(CommandError) -> MachineOffer {
        guard let wanted = ModalType(type) else {
            throw CommandError("\"\(type)\" is no type; types of modal are like H100 or A100-80GB:4.", exitCode: 5)
        }
        let regions = ModalRegion.names(region)
        let factor = ModalRegion.factor(regions)
        var found = wanted.machineType(try await rates())
        found.priceCentsPerHour = found.priceCentsPerHour.map { Int((Double($0) * factor).rounded()) }
        return MachineOffer(
            type: found, region: regions.isEmpty ? ModalRegion.anywhere : regions.joined(separator: ","),
            remark: factor == 1 ? nil : "\(factor) times the price of anywhere")
    }

    // MARK: Machines

    private struct Account: Encodable {
        var app: String
        var environment: String?
    }
    private struct Boxes: Decodable { var sandboxes: [Box] }
    private struct Box: Decodable {
        var id: String
        var name: String
        var type: String
        var region: String
        var tags: [String: String]
    }

    func machines() async throws(CommandError) -> [CloudMachine] {
        let found: Boxes = try await ask("list", Account(app: app, environment: environment))
        let machines = await concurrently(found.sandboxes) { box -> Result<CloudMachine?, CommandError> in
            do throws(CommandError) { return .success(try await machine(box)) } catch { return .failure(error) }
        }
        var running: [CloudMachine] = []
        for machine in machines { if let machine = try machine.get() { running.append(machine) } }
        return running
    }

    /// Nil: it has ended meanwhile.
    private func machine(_ box: Box) async throws(CommandError) -> CloudMachine? {
        var tags = box.tags
        // Of no use to anybody else.
        for name in ["gotoni-create", "gotoni-name", "gotoni-type", "gotoni-region"] { tags[name] = nil }
        var machine = CloudMachine(
            id: box.id, name: box.name.isEmpty ? nil : box.name, type: box.type,
            region: box.region.isEmpty ? ModalRegion.anywhere : box.region, status: .active,
            priceCentsPerHour: tags[Self.priceTag].flatMap { Int($0) }, sshKeyNames: [],
            launchedAt: tags[Self.timeTag].flatMap { Int($0) }, tags: tags)
        do throws(ModalHelper.Failure) {
            machine.url = try await sandbox(machine).tunnels(limit: Self.tunnelsLimit).first?.url
        } catch {
            switch error.code {
            case "timeout": machine.status = .booting
            case "not-found": return nil
            default: throw error.sentence
            }
        }
        return machine
    }

    func link(to machine: CloudMachine) -> MachineLink? {
        machine.status == .active ? .sandbox(sandbox(machine)) : nil
    }

    /// A volume, which is made where it is not and which all regions can have.
    func fileSystem(_ name: String) async throws(CommandError) -> CloudFileSystem {
        CloudFileSystem(id: name, name: name, mountPoint: Self.volumePath, isInUse: false, created: "")
    }

    func sandbox(_ machine: CloudMachine) -> Sandbox { Sandbox(id: machine.id, name: machine.label, helper: helper) }

    private struct Creation: Encodable {
        var app: String
        var name: String
        var environment: String?
        var image: String
        var type: String
        var tags: [String: String]
        var gpu: String?
        var cpu: Int
        var memoryMib: Int
        var region: [String]
        var encryptedPorts: [Int]
        var volumes: [String: String]
        var env: [String: String]
        var lifeS: Int
        var waitS: Int
    }
    private struct Created: Decodable { var id: String }

    func launch(_ order: LaunchOrder) async throws(CommandError) -> String {
        guard let type = ModalType(order.type) else {
            throw CommandError("\"\(order.type)\" is no type.", exitCode: 5)
        }
        var tags = order.tags
        tags[Self.markTag] = order.mark
        tags[Self.timeTag] = "\(order.time)"
        tags[Self.priceTag] = order.priceCentsPerHour.map { "\($0)" }
        let creation = Creation(
            app: app, name: order.name, environment: environment,
            image: order.imageFamily ?? (type.gpu == nil ? Self.imageWithoutGPU : Self.image), type: type.name,
            tags: tags,
            gpu: type.gpu == nil ? nil : type.name, cpu: type.cores, memoryMib: type.memoryMib,
            region: ModalRegion.names(order.region), encryptedPorts: order.ports,
            volumes: order.fileSystem.map { [Self.volumePath: $0] } ?? [:],
            env: order.fileSystem == nil ? [:] : [Self.volumeVariable: Self.volumePath], lifeS: order.lifeSeconds,
            waitS: order.limitSeconds)
        do throws(ModalHelper.Failure) {
            // It looks for the app first, for as long.
            let limit = Duration.seconds(2 * order.limitSeconds)
            let created: Created = try await helper.ask("create", creation, limit: limit)
            return created.id
        } catch {
            // Its answer may have been lost.
            guard let code = error.code, ["exists", "unavailable"].contains(code) else { throw error.sentence }
            let found: Boxes? = try? await ask("list", Account(app: app, environment: environment))
            if let box = found?.sandboxes.first(where: { $0.tags[Self.markTag] == order.mark }) { return box.id }
            guard code == "exists" else { throw error.sentence }
            throw CommandError("Modal has a sandbox called \(order.name) already; gotoni list shows all.")
        }
    }

    private struct One: Encodable { var sandbox: String }

    func terminate(_ ids: [String]) async throws(CommandError) {
        let failures = await concurrently(ids) { id -> CommandError? in
            do throws(ModalHelper.Failure) {
                let _: Nothing = try await helper.ask("terminate", One(sandbox: id), limit: Self.brief)
            } catch {
                return error.code == "not-found" ? nil : error.sentence
            }
            return nil
        }
        if let first = failures.compactMap(\.self).first { throw first }
    }
}
