// swift-tools-version: 6.2
import PackageDescription

// Two ways to build the same sources:
//   ordinary          for the Swift package, its tests and the executables
//   GOTONI_EMBEDDED=1 Embedded Swift, for libgotoni.so and libgotoni.a, which need no Swift runtime (make lib)
// They must not share a build folder: Embedded modules cannot be imported by ordinary ones.
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

let embeddedLinking: [LinkerSetting] =
    embedded
    ? [
        .unsafeFlags([
            "-enable-experimental-feature", "Embedded", "-wmo", "-no-toolchain-stdlib-rpath", "-use-ld=lld",
            "-Xlinker", "--as-needed", "-Xlinker", "--gc-sections", "-Xlinker", "-soname=libgotoni.so.0",
            "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/GotoniABI/exports.map",
        ])
    ]
    : []

let package = Package(
    name: "gotoni",
    products: [
        .library(name: "GotoniCore", targets: ["GotoniCore"]),
        // Installed as libgotoni. (A product named "gotoni" would silently swallow the executable of that name.)
        .library(name: "gotoni-shared", type: .dynamic, targets: ["GotoniABI"]),
        .library(name: "gotoni-static", type: .static, targets: ["GotoniABI"]),
    ],
    dependencies: embedded
        ? []
        : [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")],
    targets: [
        .systemLibrary(name: "CGotoni", path: "include"),
        .systemLibrary(
            name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CPlatform"),
        .target(
            name: "GotoniCore", dependencies: ["CXXHash", "CPlatform"], swiftSettings: settings,
            linkerSettings: [.linkedLibrary("m")]),
        .target(
            name: "GotoniABI", dependencies: ["CGotoni", "GotoniCore"], exclude: ["exports.map", "gotoni.pc.in"],
            swiftSettings: settings, linkerSettings: embeddedLinking),
    ]
        + (embedded
            ? []
            : [
                .target(name: "GotoniSimulation", dependencies: ["GotoniCore"], swiftSettings: settings),
                .executableTarget(
                    name: "gotoni",
                    dependencies: [
                        "GotoniSimulation",
                        .product(name: "ArgumentParser", package: "swift-argument-parser"),
                    ], swiftSettings: settings),
                .target(
                    name: "TestSupport", dependencies: ["GotoniCore"], path: "Tests/TestSupport",
                    swiftSettings: settings),
                .testTarget(
                    name: "GotoniCoreTests", dependencies: ["GotoniCore", "TestSupport"], swiftSettings: settings),
                .testTarget(
                    name: "GotoniSimulationTests", dependencies: ["GotoniCore", "GotoniSimulation", "TestSupport"],
                    swiftSettings: settings),
            ])
)
