public import GotoniGateway
public import NIOCore
import NIOHTTP2

/// gRPC on a connection: HTTP/2, each of whose streams is a `ProcessStream`.
public enum PickerPipeline {
    /// For `Gateway.start`. On the connection's event loop.
    public static func configure(_ channel: any Channel, _ connection: PickConnection) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(
            NIOHTTP2Handler(
                mode: .server, connectionConfiguration: connectionConfiguration(connection),
                streamConfiguration: streamConfiguration))
        try pipeline.addHandler(ProcessStreams(connection, windows: windows))
        connection.onDrain = {
            // No new streams; those there are go on.
            let frame = HTTP2Frame(
                streamID: .rootStream, payload: .goAway(lastStreamID: .maxID, errorCode: .noError, opaqueData: nil))
            channel.writeAndFlush(frame, promise: nil)
        }
    }

    private static let windows = ProcessStreams.Windows(connection: 16 << 20, stream: 1 << 20)

    private static func connectionConfiguration(
        _ connection: PickConnection
    ) -> NIOHTTP2Handler.ConnectionConfiguration {
        var configuration = NIOHTTP2Handler.ConnectionConfiguration()
        configuration.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: connection.maxRequests),
            HTTP2Setting(parameter: .initialWindowSize, value: windows.stream),
            HTTP2Setting(parameter: .maxHeaderListSize, value: 1 << 16),
        ]
        return configuration
    }

    /// Envoy resets each stream when it is done with it. Taken for an attack, as by default 200 of them in 30 s are, that
    /// closes the connection with every stream on it: requests under way fail.
    private static var streamConfiguration: NIOHTTP2Handler.StreamConfiguration {
        var configuration = NIOHTTP2Handler.StreamConfiguration()
        configuration.streamResetFrameRateLimit.maximumCount = .max
        configuration.streamErrorRateLimit.maximumCount = .max
        return configuration
    }
}
