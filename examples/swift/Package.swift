// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "Route",
    dependencies: [.package(name: "gotoni", path: "../..")],
    targets: [
        .executableTarget(name: "Route", dependencies: [.product(name: "GotoniCore", package: "gotoni")])
    ]
)
