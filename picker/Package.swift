// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that who builds the router, the proxy or the library pays for neither HTTP/2 nor Protobuf.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
]

let package = Package(
    name: "gotoni-picker",
    dependencies: [
        .package(name: "gotoni", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        .target(
            name: "GotoniPicker",
            dependencies: [
                .product(name: "GotoniGateway", package: "gotoni"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
                .product(name: "NIOHTTP2", package: "swift-nio-http2"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ], swiftSettings: settings),
        .executableTarget(
            name: "gotoni-picker",
            dependencies: [
                "GotoniPicker",
                .product(name: "GotoniGateway", package: "gotoni"),
                .product(name: "GotoniService", package: "gotoni"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),
        .testTarget(
            name: "GotoniPickerTests",
            dependencies: [
                "GotoniPicker",
                .product(name: "GotoniGateway", package: "gotoni"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHPACK", package: "swift-nio-http2"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ], swiftSettings: settings),
    ]
)
