// swift-tools-version: 6.2
import PackageDescription

// Two ways to build the same sources:
//   ordinary          for the Swift package, its tests and the executables
//   GOTONI_EMBEDDED=1 Embedded Swift, for libgotoni.so and libgotoni.a, which need no Swift runtime (make lib)
// They must not share a build folder: Embedded modules cannot be imported by ordinary ones.
// GOTONI_LIBRARIES_ONLY=1 leaves the programs out, which unit tests do not need and the compiler would build for them.
let embedded = Context.environment["GOTONI_EMBEDDED"] == "1"

let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("ExistentialAny"),
    ]
    + (embedded
        ? [.enableExperimentalFeature("Embedded"), .unsafeFlags(["-wmo", "-Xcc", "-fPIC"])]
        : [])

/// For a library of the C interface.
func embeddedLinking(_ library: String, _ exports: String) -> [LinkerSetting] {
    guard embedded else { return [] }
    return [
        .unsafeFlags([
            "-enable-experimental-feature", "Embedded", "-wmo", "-no-toolchain-stdlib-rpath", "-use-ld=lld",
            "-Xlinker", "--as-needed", "-Xlinker", "--gc-sections", "-Xlinker", "-soname=\(library).so.0",
            "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/\(exports)/exports.map",
        ])
    ]
}

let package = Package(
    name: "gotoni",
    products: [
        .library(name: "GotoniCore", targets: ["GotoniCore"]),
        // Installed as libgotoni. (A product named "gotoni" would silently swallow the executable of that name.)
        .library(name: "gotoni-shared", type: .dynamic, targets: ["GotoniABI"]),
        .library(name: "gotoni-static", type: .static, targets: ["GotoniABI"]),
        .library(name: "gotoni-tokenizer-shared", type: .dynamic, targets: ["GotoniTokenizerABI"]),
    ]
        // Of the package in picker/.
        + (embedded
            ? []
            : [
                .library(name: "GotoniGateway", targets: ["GotoniGateway"]),
                .library(name: "GotoniService", targets: ["GotoniService"]),
            ]),
    dependencies: embedded
        ? []
        : [
            .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
            .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
            .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
            .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
            .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
            .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        ],
    targets: [
        .systemLibrary(name: "CGotoni", path: "include"),
        .systemLibrary(
            name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CPlatform"),
        .target(
            name: "GotoniCore", dependencies: ["CXXHash", "CPlatform"], swiftSettings: settings,
            linkerSettings: [.linkedLibrary("m")]),
        .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(name: "CUTF8Proc", providers: [.apt(["libutf8proc-dev"])]),
        .target(name: "CSimdjson", publicHeadersPath: "include", linkerSettings: [.linkedLibrary("simdjson")]),
        .target(
            name: "GotoniTokenizer",
            dependencies: ["CPCRE2", "CPlatform", "CSimdjson", "CUTF8Proc", "CXXHash", "GotoniCore"],
            swiftSettings: settings, linkerSettings: [.linkedLibrary("utf8proc")]),
        .target(
            name: "GotoniABI", dependencies: ["CGotoni", "GotoniCore"], exclude: ["exports.map", "gotoni.pc.in"],
            swiftSettings: settings, linkerSettings: embeddedLinking("libgotoni", "GotoniABI")),
        .target(
            name: "GotoniTokenizerABI", dependencies: ["CGotoni", "GotoniTokenizer"],
            exclude: ["exports.map", "gotoni-tokenizer.pc.in"],
            swiftSettings: settings, linkerSettings: embeddedLinking("libgotoni-tokenizer", "GotoniTokenizerABI")),
    ]
        + (embedded
            ? []
            : [
                .target(name: "GotoniSimulation", dependencies: ["GotoniCore"], swiftSettings: settings),
                .executableTarget(
                    name: "gotoni",
                    dependencies: [
                        "CGotoni", "GotoniSimulation",
                        .product(name: "ArgumentParser", package: "swift-argument-parser"),
                        .product(name: "NIOCore", package: "swift-nio"),
                        .product(name: "NIOHTTP1", package: "swift-nio"),
                        .product(name: "NIOPosix", package: "swift-nio"),
                        .product(name: "NIOSSL", package: "swift-nio-ssl"),
                        .product(name: "Subprocess", package: "swift-subprocess"),
                        .product(name: "Yams", package: "Yams"),
                    ],
                    resources: [
                        .embedInCode("Cloud/modal_helper.py"), .embedInCode("Cluster/cluster.sh"),
                        .embedInCode("Cluster/cluster_trace.py"), .embedInCode("Machines/service.sh"),
                        .embedInCode("Tokenizer/tokenizer.sh"),
                    ],
                    swiftSettings: settings),
                .target(
                    name: "GotoniEngines", dependencies: ["CSimdjson", "CXXHash", "GotoniCore"], swiftSettings: settings
                ),
                .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
                .target(name: "ZeroMQ", dependencies: ["CZeroMQ"], swiftSettings: settings),
                .systemLibrary(name: "CNATS", providers: [.apt(["libnats-dev"])]),
                .target(name: "NATS", dependencies: ["CNATS"], swiftSettings: settings),
                .target(
                    name: "GotoniGateway",
                    dependencies: [
                        "GotoniCore", "GotoniEngines", "GotoniTokenizer", "NATS", "ZeroMQ",
                        .product(name: "Logging", package: "swift-log"),
                        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                        .product(name: "NIOCore", package: "swift-nio"),
                        .product(name: "NIOPosix", package: "swift-nio"),
                        .product(name: "NIOHTTP1", package: "swift-nio"),
                        .product(name: "NIOSSL", package: "swift-nio-ssl"),
                    ], resources: [.embedInCode("Control/dashboard.html")], swiftSettings: settings),
                .target(
                    name: "GotoniService",
                    dependencies: [
                        "GotoniCore", "GotoniEngines", "GotoniGateway", "GotoniTokenizer",
                        .product(name: "ArgumentParser", package: "swift-argument-parser"),
                        .product(name: "Logging", package: "swift-log"),
                        .product(name: "Yams", package: "Yams"),
                    ], swiftSettings: settings),
                .executableTarget(
                    name: "gotoni-proxy",
                    dependencies: [
                        "GotoniService",
                        .product(name: "ArgumentParser", package: "swift-argument-parser"),
                    ], swiftSettings: settings),
                .executableTarget(
                    name: "gotoni-lb",
                    dependencies: [
                        "GotoniGateway", "GotoniService",
                        .product(name: "ArgumentParser", package: "swift-argument-parser"),
                    ], swiftSettings: settings),
                .executableTarget(
                    name: "gotoni-engine",
                    dependencies: [
                        "CXXHash", "GotoniCore", "GotoniSimulation", "GotoniEngines", "ZeroMQ",
                        .product(name: "ArgumentParser", package: "swift-argument-parser"),
                        .product(name: "NIOCore", package: "swift-nio"),
                        .product(name: "NIOPosix", package: "swift-nio"),
                        .product(name: "NIOHTTP1", package: "swift-nio"),
                    ], swiftSettings: settings),
                .target(
                    name: "TestSupport", dependencies: ["GotoniCore"], path: "Tests/TestSupport",
                    swiftSettings: settings),
                .testTarget(
                    name: "GotoniCoreTests", dependencies: ["GotoniCore", "TestSupport"], swiftSettings: settings),
                .testTarget(
                    name: "GotoniSimulationTests", dependencies: ["GotoniCore", "GotoniSimulation", "TestSupport"],
                    swiftSettings: settings),
                .testTarget(
                    name: "GotoniTokenizerTests", dependencies: ["GotoniCore", "GotoniTokenizer", "TestSupport"],
                    swiftSettings: settings),
                .testTarget(
                    name: "GotoniEnginesTests", dependencies: ["GotoniEngines", "TestSupport"],
                    resources: [.copy("Fixtures")], swiftSettings: settings),
                .testTarget(
                    name: "GotoniGatewayTests",
                    dependencies: [
                        "GotoniCore", "GotoniEngines", "GotoniGateway", "GotoniTokenizer", "TestSupport", "ZeroMQ",
                        .product(name: "NIOEmbedded", package: "swift-nio"),
                    ],
                    swiftSettings: settings),
            ]),
    cxxLanguageStandard: .cxx17
)

if Context.environment["GOTONI_LIBRARIES_ONLY"] == "1" {
    package.targets.removeAll { $0.type == .executable || $0.name == "GotoniService" }
    package.products.removeAll { $0.name == "GotoniService" }
}
