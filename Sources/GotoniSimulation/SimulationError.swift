/// One sentence about what is wrong with an input of the simulation.
public struct SimulationError: Error, Equatable, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}
