import Foundation
import GotoniGateway
import NIOCore
import SwiftProtobuf

typealias ProcessingRequest = Envoy_Service_ExtProc_V3_ProcessingRequest
typealias ProcessingResponse = Envoy_Service_ExtProc_V3_ProcessingResponse
typealias CommonResponse = Envoy_Service_ExtProc_V3_CommonResponse
typealias HeaderMutation = Envoy_Service_ExtProc_V3_HeaderMutation
typealias BodySendMode = Envoy_Extensions_Filters_Http_ExtProc_V3_ProcessingMode.BodySendMode

/// Where a request is to go, as Envoy reads it and the Gateway API's inference extension has it: in a field of the request,
/// and in dynamic metadata (https://github.com/kubernetes-sigs/gateway-api-inference-extension, docs/proposals/004).
enum Destination {
    static let field = "x-gateway-destination-endpoint"
    static let metadataNamespace = "envoy.lb"
}

extension Envoy_Config_Core_V3_HeaderMap {
    /// The first field of this name; names are in lower case here. Envoy has the value in either place.
    func first(_ name: String) -> String? {
        headers.first { $0.key == name }.map {
            $0.rawValue.isEmpty ? $0.value : String(decoding: $0.rawValue, as: UTF8.self)
        }
    }
}

extension ProcessingRequest {
    /// Envoy's response.code_details; nil where it does not say them.
    var codeDetails: String? {
        let all = attributes.values.lazy.compactMap { try? SwiftProtobufStruct(serializedBytes: $0) }
        return all.compactMap { $0.fields["response.code_details"]?.stringValue }.first
    }
}

extension HeaderMutation {
    /// In place of what the request or the answer has.
    mutating func set(_ name: String, _ value: String) {
        var option = Envoy_Config_Core_V3_HeaderValueOption()
        option.header.key = name
        option.header.rawValue = Data(value.utf8)
        option.appendAction = .overwriteIfExistsOrAdd
        setHeaders.append(option)
    }
}

extension CommonResponse {
    /// Takes a request to `destination`, over whichever route fits now.
    init(to destination: String, authorization: PickVerdict.Authorization) {
        self.init()
        headerMutation.set(Destination.field, destination)
        switch authorization {
        case .keep: break
        case .remove: headerMutation.removeHeaders = ["authorization"]
        case .replace(let value): headerMutation.set("authorization", value)
        }
        clearRouteCache_p = true
    }
}

extension ProcessingResponse {
    /// For Envoy's load balancers that read metadata; Envoy drops it where its configuration does not take it.
    mutating func tell(_ destination: String) {
        var fields = SwiftProtobufStruct()
        fields.fields[Destination.field] = .init(stringValue: destination)
        dynamicMetadata.fields[Destination.metadataNamespace] = .init(structValue: fields)
    }

    /// An answer in place of any server's.
    init(status: Int, fields: [(name: String, value: String)], body: ByteBuffer) {
        self.init()
        immediateResponse.status.code = Int32(clamping: status)
        for (name, value) in fields { immediateResponse.headers.set(name, value) }
        immediateResponse.body = Data(body.readableBytesView)
        immediateResponse.details = "gotoni-picker"
    }
}
